import json

import pyarrow
import pytest
from conftest import configuration, write_jsonl
from data_files import ROWS, firsts, load
from pyarrow import parquet

from harness.data import datasets
from harness.errors import UserError


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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '{"question": "a", "answer": "1"}\n'),
        ("x.json", '[{"question": "a", "answer": "1"}]'),
        ("x.csv", "question,answer\na,1\n"),
    ],
)
def test_a_byte_order_mark_is_no_text(tmp_path, name, content):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert [(p.question, p.answer) for p in load("all", dataset=str(tmp_path / name)).problems] == [("a", "1")]


def test_a_byte_order_mark_and_half_a_surrogate_pair_do_no_harm(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"question": "a \\ud800 b", "answer": "1"}\n')
    assert load("all", dataset=str(path)).problems[0].question == "a ? b"


def test_rows_without_text_or_answer_are_counted_not_dropped_in_silence(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [*ROWS[:2], {"question": "Why?", "answer": None}, {"question": " "}])
    dataset = load("all", dataset=str(path))
    assert [p.answer for p in dataset.problems] == ["1", "2", None]
    assert dataset.skipped == {"no text in column 'question'": 1}
    trained, _ = datasets.training_problems(configuration(dataset=str(path), trains=True))
    assert all(problem.answer for problem in trained.problems)


@pytest.mark.parametrize("folders", [("",), ("train", "test")], ids=["dataset", "dict"])
def test_a_dataset_that_was_saved_to_disk_reads_as_its_files_would(tmp_path, folders):
    import datasets as hub

    saved = [hub.Dataset.from_list(ROWS[10 * n : 10 * n + 10]) for n in range(len(folders))]
    if len(folders) == 1:
        saved[0].save_to_disk(tmp_path / "x")
        assert firsts(datasets.evaluation_problems(configuration(dataset=str(tmp_path / "x")))) == [0]
    else:
        hub.DatasetDict(dict(zip(folders, saved, strict=True))).save_to_disk(tmp_path / "x")
        assert firsts(load("test", dataset=str(tmp_path / "x"))) == [1]
    for file in (tmp_path / "x").rglob("*.arrow"):
        file.write_bytes(b"x")
    with pytest.raises(UserError, match="not a whole saved dataset"):
        load("all", dataset=str(tmp_path / "x"))


USER = {"role": "user", "content": "What is 1 + 1?"}
# A row, and the question and true answer that it makes.
ODD_ROWS = [
    ({"prompt": [USER], "answer": "2"}, ("What is 1 + 1?", "2")),
    ({"prompt": [{"role": "system", "content": "Be brief."}, USER], "answer": "2"}, ("What is 1 + 1?", "2")),
    ({"prompt": [USER | {"content": [{"type": "text", "text": "What is it?"}]}], "answer": "2"}, ("What is it?", "2")),
    (
        {"data_source": "gsm8k", "prompt": [USER], "reward_model": {"style": "rule", "ground_truth": "2"}},
        ("What is 1 + 1?", "2"),
    ),
    ({"Problem": "What?", "Answer": 204}, ("What?", "204")),
    ({"problem": "What?", "answer": 72.0}, ("What?", "72")),
    ({"problem": "What?", "answer": 0.5}, ("What?", "0.5")),
    ({"problem": "What?", "answer": ["204"]}, ("What?", "204")),
    ({"problem": "What?", "answer": ["2", "-2"]}, ("What?", None)),
    ({"problem": "What?", "answer": []}, ("What?", None)),
    ({"problem": "What?", "answer": True}, ("What?", None)),
    ({"problem": "What?", "answer": {"value": 2}}, ("What?", None)),
    ({"problem": "What?", "answer": float("inf")}, ("What?", None)),
]


@pytest.mark.parametrize(("row", "made"), ODD_ROWS)
def test_rows_as_others_write_them(tmp_path, row, made):
    dataset = load("all", dataset=str(write_jsonl(tmp_path / "x.jsonl", [row])))
    assert [(problem.question, problem.answer) for problem in dataset.problems] == [made]
    untold = isinstance(row.get("answer"), bool | list | dict) and made[1] is None
    assert any("1 rows have no single true answer in column 'answer'" in note for note in dataset.notes) == untold


def test_a_system_prompt_of_the_data_is_said_to_be_left_out(tmp_path):
    row = {"prompt": [{"role": "system", "content": "Be brief."}, USER], "answer": "2"}
    (note,) = load("all", dataset=str(write_jsonl(tmp_path / "x.jsonl", [row]))).notes
    assert note.endswith("1 rows have a system prompt of their own, which is not used: the format's is")


def test_a_conversation_is_no_question(tmp_path):
    talk = [USER, {"role": "assistant", "content": "2"}, USER]
    path = write_jsonl(tmp_path / "x.jsonl", [{"prompt": talk, "answer": "2"}, {"prompt": [USER], "answer": "2"}])
    assert load("all", dataset=str(path)).skipped == {
        "column 'prompt' has a conversation that is more than one question": 1
    }


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([{"qestion": "a", "answer": "1"}], {}, "did you mean --question-column qestion?"),
        ([{"question": "a", "anwser": "1"}], {}, "did you mean --answer-column anwser?"),
        ([{"question": "a", "truth": "1"}], {"answer_column": "truht"}, "did you mean --answer-column truth?"),
        ([{"text": "a", "n": "1"}], {}, r"\(columns: text, n\): name it with --question-column"),
    ],
)
def test_a_column_that_is_not_there_names_option_and_likely_column(tmp_path, rows, columns, said):
    with pytest.raises(UserError, match=said):
        load("all", dataset=str(write_jsonl(tmp_path / "x.jsonl", rows)), **columns)


MISTAKES = [
    ("x.csv", "question,answer\nHow much?,1,230\n", r"x\.csv:2: 3 fields under 2 columns: quote the commas"),
    ("x.csv", '\ufeffquestion,answer\n"a\nb",1\nc,2,3\n', r"x\.csv:4: 3 fields under 2 columns"),
    ("x.csv", 'question,answer\n"never closed,1\nb,2\n', r"x\.csv:\d: broken CSV"),
    ("x.csv", "question,answer,answer\na,1,2\n", "x.csv:1: two columns are called 'answer': rename one"),
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


def test_real_gsm8k(test_data):
    config = configuration(dataset="gsm8k", data=str(test_data / "gsm8k"))
    assert datasets.near_copies(config, datasets.training_problems(config)[0]).count == 3
    train, test = datasets.load(config, "train"), datasets.load(config, "test")
    assert (len(train.problems), len(test.problems)) == (7473, 1319)
    assert train.problems[0].answer == "72"


def test_real_dapo(test_data):
    config = configuration(dataset="dapo", data=str(test_data / "dapo" / "integer_math.jsonl"))
    held_out = datasets.load(config, "test")
    assert held_out.equality == "math"
    assert 80 <= len(held_out.problems) <= 190


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
