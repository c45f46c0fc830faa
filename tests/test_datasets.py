import json

import pyarrow
import pytest
from conftest import configuration, write_jsonl
from pyarrow import parquet

from harness import datasets
from harness.errors import UserError

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(40)]


def load(split="test", trains=False, **options):
    return datasets.load(configuration(trains=trains, **options), split)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_reads_the_same(tmp_path, suffix):
    path = tmp_path / f"sums{suffix}"
    if suffix == ".jsonl":
        write_jsonl(path, ROWS)
    elif suffix == ".json":
        path.write_text(json.dumps({"data": ROWS}))
    elif suffix == ".csv":
        path.write_text("question,answer\n" + "".join(f'"{r["question"]}",{r["answer"]}\n' for r in ROWS))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    dataset = load("all", dataset=str(path))
    assert [(p.question, p.answer) for p in dataset.problems] == [(r["question"], r["answer"]) for r in ROWS]
    assert dataset.equality == "number"


def test_columns_can_be_named(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"q": "Why?", "a": "because\n#### 1,200"}])
    dataset = load("all", dataset=str(path), question_column="q", answer_column="a")
    assert [(p.question, p.answer) for p in dataset.problems] == [("Why?", "1,200")]


def test_a_hub_style_folder_has_splits(tmp_path):
    (tmp_path / "main").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS[:30]), tmp_path / "main" / "train-00000-of-00001.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS[30:]), tmp_path / "main" / "test-00000-of-00001.parquet")
    for options in ({"dataset": str(tmp_path)}, {"dataset": "gsm8k", "data": str(tmp_path)}):
        assert len(load("train", **options).problems) == 30
        assert len(load("test", **options).problems) == 10


def test_a_folder_without_training_problems_is_never_trained_on(tmp_path):
    write_jsonl(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(UserError, match="no file of split 'train'"):
        datasets.training_problems(configuration(dataset=str(tmp_path), trains=True))
    write_jsonl(tmp_path / "train.jsonl", ROWS[:3])
    assert len(load("all", dataset=str(tmp_path)).problems) == len(ROWS) + 3


def test_a_single_file_is_cut_by_hash_where_the_run_trains(tmp_path):
    path = str(write_jsonl(tmp_path / "sums.jsonl", ROWS))
    assert len(datasets.evaluation_problems(configuration(dataset=path)).problems) == len(ROWS)
    held_out = datasets.evaluation_problems(configuration(dataset=path, trains=True)).problems
    trained = datasets.training_problems(configuration(dataset=path, trains=True)).problems
    assert held_out
    assert not {p.id for p in held_out} & {p.id for p in trained}
    assert len(held_out) + len(trained) == len(ROWS)


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_with_train_files_alone_holds_a_tenth_out(tmp_path, named):
    write_jsonl(tmp_path / "train-00000.jsonl", [{"prompt": r["question"], "solution": r["answer"]} for r in ROWS * 4])
    options = {"dataset": "dapo", "data": str(tmp_path)} if named else {"dataset": str(tmp_path)}
    train, test = ({p.question for p in load(split, **options).problems} for split in ("train", "test"))
    assert test
    assert not train & test


def test_the_hubs_train_split_without_a_test_split_holds_a_tenth_out(monkeypatch):
    import datasets as hub

    rows = [{"prompt": r["question"], "solution": r["answer"]} for r in ROWS]
    monkeypatch.setattr(hub, "load_dataset", lambda address, config, split: rows if split == "train" else None)
    train, test = ({p.question for p in load(split, dataset="dapo").problems} for split in ("train", "test"))
    assert test
    assert not train & test
    assert len(load("all", dataset="dapo").problems) == len(ROWS)


def test_the_configs_of_a_hub_clone_are_not_mixed(tmp_path):
    for config in ("main", "socratic"):
        (tmp_path / config).mkdir()
        write_jsonl(tmp_path / config / "test.jsonl", ROWS)
    assert len(load(dataset="gsm8k", data=str(tmp_path)).problems) == len(ROWS)
    with pytest.raises(UserError, match="main and socratic: name one"):
        load(dataset=str(tmp_path))


def test_dapos_held_out_slice_belongs_to_the_prompt_alone(tmp_path):
    rows = [{"prompt": f"Find $x_{{{n}}}$.", "solution": str(n)} for n in range(300)]
    whole = write_jsonl(tmp_path / "whole.jsonl", rows)
    part = write_jsonl(tmp_path / "part.jsonl", rows[::-2])
    slices = [{p.question for p in load(dataset="dapo", data=str(path)).problems} for path in (whole, part)]
    assert slices[1] == {row["prompt"] for row in rows[::-2]} & slices[0]
    assert 15 <= len(slices[0]) <= 50
    assert datasets.held_out_split("Find $x_{3}$.") == "train"


def test_a_byte_order_mark_and_half_a_surrogate_pair_do_no_harm(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"question": "a \\ud800 b", "answer": "1"}\n')
    assert load("all", dataset=str(path)).problems[0].question == "a ? b"


def test_rows_without_text_or_answer_are_counted_not_dropped_in_silence(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [*ROWS[:2], {"question": "Why?", "answer": None}, {"question": " "}])
    dataset = load("all", dataset=str(path))
    assert [p.answer for p in dataset.problems] == ["1", "2", None]
    assert dataset.skipped == {"no text in column 'question'": 1}
    assert all(p.answer for p in datasets.training_problems(configuration(dataset=str(path), trains=True)).problems)


MISTAKES = [
    ("x.jsonl", "", "no rows"),
    ("x.jsonl", '{"question": "a", "answer": "1"}\n{"question": ', r"x\.jsonl:2: broken JSON"),
    ("x.jsonl", "[1]\n", r"x\.jsonl:1: not an object"),
    ("x.jsonl", '{"text": "a"}\n', "no column .*--question-column"),
    ("x.jsonl", '{"question": "a"}\n', "no column .*--answer-column"),
    ("x.json", "[\n1,\n", r"x\.json:3: broken JSON"),
    ("x.json", "[1]", "not a list of objects"),
    ("x.csv", "", "no rows"),
    ("x.csv", "question,answer\n", "no rows"),
    ("x.parquet", "PAR1", "not a parquet file"),
    ("x.txt", "hello", r"cannot read '\.txt'"),
    ("x.jsonl", b"\xff\xfe{}", "not UTF-8"),
    ("x.jsonl", '{"question": ' + "9" * 6000 + "}", r"x\.jsonl:1: broken JSON"),
    ("x.jsonl", '{"question": ' + "[" * 100_000, r"x\.jsonl:1: broken JSON"),
]


@pytest.mark.parametrize(("name", "content", "message"), MISTAKES)
def test_mistakes_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load("all", dataset=str(path))


def test_the_hub_without_network_points_at_the_local_copy(monkeypatch):
    import datasets as hub

    def offline(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(UserError, match="--data at a local copy"):
        load(dataset="gsm8k")


def test_real_gsm8k(test_data):
    config = configuration(dataset="gsm8k", data=str(test_data / "gsm8k"))
    train, test = datasets.load(config, "train"), datasets.load(config, "test")
    assert (len(train.problems), len(test.problems)) == (7473, 1319)
    assert train.problems[0].answer == "72"


def test_real_dapo(test_data):
    config = configuration(dataset="dapo", data=str(test_data / "dapo" / "integer_math.jsonl"))
    held_out = datasets.load(config, "test")
    assert held_out.equality == "math"
    assert 80 <= len(held_out.problems) <= 190


WORKED = [
    {"question": "What is 1 + 1?", "solution": "It is 2.", "answer": "2"},
    {"question": "What is 2 + 2?", "solution": "It is 4.", "answer": "4"},
    {"question": "What is half?", "solution": "1/2", "answer": "\\frac{1}{2}"},
    {"question": "Which letter?", "solution": "x", "answer": "x + 1"},
    {"question": "Without a solution?", "answer": "5"},
    {"question": "What is 3 - 5?", "solution": "-2", "answer": "-2"},
]


def test_lessons_are_worked_numeric_and_never_evaluated(tmp_path):
    """Of the rows above three have a numeric answer and a solution; one of them is evaluated."""
    worked = write_jsonl(tmp_path / "worked.jsonl", WORKED)
    asked = write_jsonl(tmp_path / "asked.jsonl", [{"question": "What is 2 + 2?", "answer": "4"}])
    config = configuration(f"sft_dataset={worked}", dataset=str(asked))
    lessons, evaluated = datasets.lessons(config)
    assert [lesson.solution for lesson in lessons.problems] == ["It is 2.", "-2"]
    assert evaluated == 1


def test_the_embedded_lessons_speak_the_target_language():
    for language, word in (("en", "Together"), ("id", "Jadi")):
        lessons, evaluated = datasets.lessons(configuration("sft_dataset=word-problems", language=language))
        # The problems that the accuracy is probed on.
        assert evaluated == 32
        assert any(word in lesson.solution for lesson in lessons.problems[:20])


def test_a_dataset_without_solutions_is_no_lesson(tmp_path):
    asked = write_jsonl(tmp_path / "asked.jsonl", [{"question": "What is 2 + 2?", "answer": "4"}])
    with pytest.raises(UserError, match="none of its 1 problems has a worked solution"):
        datasets.lessons(configuration(f"sft_dataset={asked}"))


def test_a_limit_draws_from_the_whole_file_and_the_same_again(tmp_path):
    """Of a sorted file its first problems are no sample; a larger limit holds those of a smaller one."""
    rows = [{"question": f"{n} and {n}?", "answer": str(2 * n)} for n in range(200)]
    path = write_jsonl(tmp_path / "sorted.jsonl", rows)

    def places(limit: int, *settings: str) -> list[int]:
        config = configuration(*settings, dataset=str(path), limit=limit)
        return [int(each.question.split()[0]) for each in datasets.evaluation_problems(config).problems]

    drawn = places(20)
    assert drawn == sorted(drawn) == places(20)
    assert min(sum(each < 100 for each in drawn), sum(each >= 100 for each in drawn)) >= 5
    assert set(drawn) < set(places(60))
    assert places(20, "limit_order=file") == list(range(20))
    assert places(500) == list(range(200))


def test_the_order_of_a_limit_tells_runs_apart_only_where_there_is_one():
    assert configuration("limit_order=file").sha == configuration().sha
    assert configuration("limit_order=file", limit=3).sha != configuration(limit=3).sha
