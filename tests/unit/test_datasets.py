import json
import time

import pyarrow
import pytest
from conftest import configuration, write_jsonl
from pyarrow import parquet

from harness.data import columns, datasets, overlap
from harness.errors import UserError
from harness.types import NearCopy, Problem

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
    trained = datasets.training_problems(configuration(dataset=path, trains=True))[0].problems
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
    with pytest.raises(UserError, match=r"main/test\.jsonl or socratic/test\.jsonl: name one"):
        load(dataset=str(tmp_path))


def test_dapos_held_out_slice_belongs_to_the_prompt_alone(tmp_path):
    rows = [{"prompt": f"Find $x_{{{n}}}$.", "solution": str(n)} for n in range(300)]
    whole = write_jsonl(tmp_path / "whole.jsonl", rows)
    part = write_jsonl(tmp_path / "part.jsonl", rows[::-2])
    slices = [{p.question for p in load(dataset="dapo", data=str(path)).problems} for path in (whole, part)]
    assert slices[1] == {row["prompt"] for row in rows[::-2]} & slices[0]
    assert 15 <= len(slices[0]) <= 50
    assert datasets.held_out_split("Find $x_{3}$.") == "train"


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


def place(folder, *names):
    """A folder with files of these names, the n-th of ten rows that begin with question n * 10."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rows = ROWS[10 * number : 10 * number + 10]
        if name.endswith("parquet"):
            parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
        elif name.endswith("csv"):
            (folder / name).write_text("question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows))
        else:
            write_jsonl(folder / name, rows)
    return str(folder)


def firsts(dataset):
    """Which files of `place` the problems are from."""
    return sorted({int(problem.question.split()[2]) // 10 for problem in dataset.problems})


# Names of files, the split asked for, and which of the files are read.
SPLITS = [
    (("my_test.jsonl", "my_train.jsonl"), "test", [0]),
    (("gsm8k_train.parquet", "gsm8k-TEST.parquet"), "test", [1]),
    (("Train/0.parquet", "Test/0.parquet"), "train", [0]),
    (("Train/0.parquet", "Train/1.parquet", "Test/0.parquet"), "train", [0, 1]),
    (("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"), "test", [1]),
    (("data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet", "train.jsonl"), "test", [0, 1]),
    (("data/train-00000-of-00001-0f1f1c4b268a23e8.parquet", "test.jsonl"), "train", [0]),
    (("train.jsonl", "valid.jsonl", "test.jsonl"), "validation", [1]),
    (("train.jsonl", "dev.csv", "test.jsonl"), "val", [1]),
    (("training.jsonl", "eval.jsonl"), "test", [1]),
    (("gsm8kTrain.jsonl", "gsm8kTest.jsonl"), "test", [1]),
    (("test/part.jsonl", "train/test.jsonl", "train/train.jsonl"), "train", [2]),
    (("cot-0.jsonl", "tir-0.jsonl"), "cot", [0]),
    (("contest.jsonl",), "all", [0]),
    (("test.jsonl", ".cache/test.jsonl", "dataset_infos.json"), "test", [0]),
]


@pytest.mark.parametrize(("names", "split", "read"), SPLITS)
def test_a_split_is_recognised_anywhere_in_a_name(tmp_path, names, split, read):
    assert firsts(load(split, dataset=place(tmp_path, *names))) == read


AMBIGUOUS = [
    (("test.jsonl", "test_socratic.jsonl"), "test.jsonl or test_socratic.jsonl: name one"),
    (("test.jsonl", "test.csv"), "test.csv or test.jsonl: name one"),
    (("test.jsonl", "test.bak.jsonl"), "test.bak.jsonl or test.jsonl: name one"),
    (("a/test.jsonl", "b/test.jsonl"), "a/test.jsonl or b/test.jsonl: name one"),
    (("test_2024.jsonl", "test_2025.jsonl"), "test_2024.jsonl or test_2025.jsonl: name one"),
    (("test-0-of-1.jsonl", "test-0-of-2.jsonl", "test-1-of-2.jsonl"), "may be test-0-of-1.jsonl or test-0-of-2.jsonl"),
    (("train_test.jsonl",), "'train_test.jsonl' names train and test: rename it"),
    (("test-00000-of-00002.jsonl",), "not all of its 2 pieces are there"),
    (("data.jsonl", "data.csv"), "its data may be data.csv or data.jsonl"),
]


@pytest.mark.parametrize(("names", "said"), AMBIGUOUS)
def test_a_folder_that_leaves_a_choice_is_refused_with_it(tmp_path, names, said):
    with pytest.raises(UserError, match=said):
        load("test", dataset=place(tmp_path, *names))


# Names of files, and how many of their tens of problems are evaluated where nothing is trained: all of one file's.
WHOLE = [
    (("sums.jsonl",), 10),
    (("contest.jsonl",), 10),
    (("data/0.parquet", "data/1.parquet"), 20),
    (("train.jsonl",), 10),
    (("test.jsonl",), 10),
    (("train.jsonl", "test.jsonl"), 10),
]


@pytest.mark.parametrize(("names", "count"), WHOLE)
def test_one_file_in_a_folder_is_evaluated_whole_as_the_file_is(tmp_path, names, count):
    dataset = datasets.evaluation_problems(configuration(dataset=place(tmp_path, *names)))
    assert (len(dataset.problems), dataset.notes) == (count, ())
    if len(names) == 1:
        alone = datasets.evaluation_problems(configuration(dataset=str(tmp_path / names[0])))
        assert firsts(alone) == firsts(dataset)


@pytest.mark.parametrize("name", ["my_test.jsonl", "validation.csv"])
def test_a_file_that_is_called_test_is_never_trained_on(tmp_path, name):
    path = place(tmp_path, name) + f"/{name}"
    with pytest.raises(UserError, match="no file of split 'train'"):
        datasets.training_problems(configuration(dataset=path, trains=True))


def test_a_split_that_the_program_cuts_is_said(tmp_path):
    rows = write_jsonl(tmp_path / "sums.jsonl", ROWS)
    held_out = datasets.evaluation_problems(configuration(dataset=str(rows), trains=True))
    assert held_out.notes == (
        f"{rows}: has no test split: {len(held_out.problems)} of its 40 problems, one in 10 by hash of the question, "
        "are evaluated and never trained on",
    )


def test_a_validation_split_that_is_evaluated_leaves_the_training_whole(tmp_path):
    config = configuration(dataset=place(tmp_path, "train.jsonl", "validation.jsonl"), split="dev", trains=True)
    assert firsts(datasets.evaluation_problems(config)) == [1]
    assert len(datasets.training_problems(config)[0].problems) == 10


@pytest.mark.parametrize("split", ["train", "training", "all"])
def test_what_is_trained_on_is_never_evaluated(tmp_path, split):
    with pytest.raises(UserError, match=f"--split {split} evaluates the problems that the run trains on"):
        configuration(dataset=place(tmp_path, "train.jsonl", "test.jsonl"), split=split, trains=True)


# A training question, and whether it is the evaluated "How many are 2 eggs?".
OVERLAPS = [
    ("How many are 2 eggs?", True),
    ("how MANY are 2 eggs?", True),
    ("  How many\n are\t2 eggs? ", True),
    ("How\u00a0many are \uff12 eggs?", True),
    ("How many are\u200b 2 eggs?", True),
    ("\ufeffHow many are 2 eggs?", True),
    ("How many are 3 eggs?", False),
]


@pytest.mark.parametrize(("question", "same"), OVERLAPS)
def test_what_is_evaluated_is_left_out_of_either_training(tmp_path, question, same):
    other = {"question": "Another one?", "answer": "1", "solution": "One."}
    write_jsonl(tmp_path / "test.jsonl", [{"question": "How many are 2 eggs?", "answer": "2"}])
    write_jsonl(tmp_path / "train.jsonl", [other, other | {"question": question}])
    settings = (f"sft_dataset={tmp_path / 'train.jsonl'}", "eval_every=0")
    config = configuration(*settings, dataset=str(tmp_path), trains=True)
    for trained, left_out in (datasets.training_problems(config), datasets.lessons(config)):
        assert (len(trained.problems), left_out) == (2 - same, int(same))


def test_a_training_set_that_is_all_evaluated_is_refused(tmp_path):
    for name in ("train.jsonl", "test.jsonl"):
        write_jsonl(tmp_path / name, ROWS)
    with pytest.raises(UserError, match="the run evaluates all of its 40 training problems"):
        datasets.training_problems(configuration(dataset=str(tmp_path), trains=True))


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


@pytest.mark.parametrize("name", [name for name, source in datasets.DATASETS.items() if source])
def test_a_clone_of_each_named_dataset_is_read_as_its_card_has_it(tmp_path, name):
    """Each in the hub's layout, its config a folder, its split a shard."""
    source = datasets.DATASETS[name]
    rows = [{source.question: f"What is {n}?", source.answer: str(n), "other": None} for n in range(30)]
    for number, split in enumerate(source.splits.values()):
        file = tmp_path / source.config / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(exist_ok=True)
        asked = [row | {source.question: f"{split}: {row[source.question]}"} for row in rows[15 * number :]]
        parquet.write_table(pyarrow.Table.from_pylist(asked), file)
    evaluated = load("test", dataset=name, data=str(tmp_path))
    assert {each.question.split(":")[0] for each in evaluated.problems} == {source.splits.get("test") or "".join(
        source.splits.values())}  # fmt: skip
    if "train" not in source.splits:
        assert len(evaluated.problems) == 30
        with pytest.raises(UserError, match=f"--dataset {name}: is for evaluation alone"):
            configuration(dataset=name, trains=True)
    else:
        trained, _ = datasets.training_problems(configuration(dataset=name, data=str(tmp_path), trains=True))
        assert not {each.question for each in trained.problems} & {each.question for each in evaluated.problems}


HUB = {
    "me/sums": {"default": {"train": ROWS[:30], "test": ROWS[30:]}},
    "me/one": {"default": {"train": ROWS}},
    "me/many": {"a": {"test": ROWS[:5]}, "b": {"test": ROWS[5:], "dev": ROWS[:3]}},
}


@pytest.fixture
def hub(monkeypatch):
    """A hub of three datasets in place of the library's calls."""
    import datasets as library
    from datasets.exceptions import DatasetNotFoundError

    def of(address):
        if address not in HUB:
            raise DatasetNotFoundError(f"Dataset '{address}' doesn't exist on the Hub or cannot be accessed.")
        return HUB[address]

    monkeypatch.setattr(library, "get_dataset_config_names", lambda address: [*of(address)])
    monkeypatch.setattr(library, "get_dataset_split_names", lambda address, config: [*of(address)[config]])
    monkeypatch.setattr(library, "load_dataset", lambda address, config, split: of(address)[config][split])


@pytest.mark.parametrize(
    ("dataset", "split", "count"),
    [("me/sums", None, 10), ("me/sums", "train", 30), ("me/sums:default", "all", 40), ("me/one", None, 40),
     ("me/many:a", None, 5), ("me/many:b", None, 35), ("me/many:b", "validation", 3)],
)  # fmt: skip
def test_any_dataset_of_the_hub_by_its_id(hub, dataset, split, count):
    found = datasets.evaluation_problems(configuration(dataset=dataset, split=split))
    assert (len(found.problems), found.equality) == (count, "number")


@pytest.mark.parametrize(
    ("dataset", "split", "said"),
    [
        ("me/many", None, "me/many: has the configs a, b: name one, as in me/many:a"),
        ("me/gone", None, "me/gone: not on the hub, or you have no access"),
        ("me/many:b", "cot", "me/many:b: no split 'cot': give --split test or dev"),
    ],
)
def test_what_the_hub_has_not_is_one_line(hub, dataset, split, said):
    with pytest.raises(UserError, match=said):
        datasets.evaluation_problems(configuration(dataset=dataset, split=split))


def test_a_hub_dataset_of_one_split_is_cut_where_the_run_trains(hub):
    config = configuration(dataset="me/one", trains=True)
    evaluated = datasets.evaluation_problems(config)
    assert "me/one: has no test split" in evaluated.notes[0]
    assert len(evaluated.problems) + len(datasets.training_problems(config)[0].problems) == len(ROWS)


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


def test_the_hub_without_network_points_at_the_local_copy(monkeypatch):
    import datasets as hub

    def offline(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(UserError, match="--data at a local copy"):
        load(dataset="gsm8k")


NEAR = "Max bought {} stamps at the post office and gave half of them to a friend who collects them. How many are left?"


def test_near_copies_are_counted_with_examples_and_not_left_out():
    trained = [Problem(str(n), NEAR.format(n), "1") for n in range(3)] + [Problem("x", "Quite another one?", "1")]
    asked = [Problem("a", NEAR.format(90), "1"), Problem("b", "Short?", "1"), Problem("c", "Quite ANOTHER one", "1")]
    found = overlap.near_copies(trained, asked)
    assert (found.count, found.evaluated) == (2, 3)
    assert found.examples[0] == NearCopy(NEAR.format(90), NEAR.format(0), 1.0)
    assert overlap.without(trained, asked) == tuple(trained)
    assert overlap.near_copies([], asked).count == overlap.near_copies(trained, []).count == 0


def test_near_copies_take_linear_time():
    """Problems of one template, which all share their n-grams."""
    trained, asked = ([Problem("", NEAR.format(n), "1") for n in range(start, start + 4000)] for start in (0, 5000))
    started = time.monotonic()
    assert overlap.near_copies(trained, asked).count == 4000
    assert time.monotonic() - started < 10


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


@pytest.mark.parametrize(
    ("written", "solution"),
    [
        ("Half is 48/2 = <<48/2=24>>24.\nBoth: <<48+24=72>>72.\n#### 72", "Half is 48/2 = 24.\nBoth: 72."),
        ("So $<<.5*3=1.5>>1.50.\n####1,000 ", "So $1.50."),
        ("#### First\nwe add: 2.\n#### Then\nwe are done.", "#### First\nwe add: 2.\n#### Then\nwe are done."),
        ("`cout << a >> b` and 1 << 2", "`cout << a >> b` and 1 << 2"),
        ("<<1+1=2>>", None),
        ("", None),
        (None, None),
    ],
)
def test_a_worked_solution_is_the_working_alone(written, solution):
    assert columns.worked_solution(written) == solution


def test_gsm8ks_own_solutions_are_lessons_and_its_test_problems_never(tmp_path):
    rows = [
        {"question": f"What is {n} + 1?", "answer": f"{n}+1 = <<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"} for n in range(9)
    ]
    write_jsonl(tmp_path / "train.jsonl", rows[:6])
    write_jsonl(tmp_path / "test.jsonl", rows[5:])
    config = configuration("sft_dataset=gsm8k", "eval_every=0", dataset="gsm8k", data=str(tmp_path), trains=True)
    lessons, evaluated = datasets.lessons(config)
    assert [(each.solution, each.answer) for each in lessons.problems] == [
        (f"{n}+1 = {n + 1}", str(n + 1)) for n in range(5)
    ]
    assert evaluated == 1
    # Where the run evaluates something else, GSM8K's test problems are still none to learn from.
    config = configuration("sft_dataset=gsm8k", f"sft_data={tmp_path}", trains=True)
    assert len(datasets.lessons(config)[0].problems) == 6


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
