import pyarrow
import pytest
from conftest import configuration, write_jsonl
from data_files import ROWS, firsts, load, place
from pyarrow import parquet

from harness.data import datasets
from harness.errors import UserError


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


def test_the_hub_without_network_points_at_the_local_copy(monkeypatch):
    import datasets as hub

    def offline(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(UserError, match="--data at a local copy"):
        load(dataset="gsm8k")
