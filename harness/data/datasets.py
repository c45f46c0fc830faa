"""Problems from the hub, a local copy, any file with two columns, or the embedded generator."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness import registry
from harness.config import MODELSCOPE, Configuration
from harness.data import columns, hub_datasets, overlap, splits, word_problems
from harness.data.hub_datasets import Address
from harness.data.named_datasets import DATASETS
from harness.data.splits import ALL, TEST, TRAIN
from harness.data.tables import SUFFIXES, read_rows
from harness.errors import UserError
from harness.findings import NearCopies
from harness.models import modelscope
from harness.parsing import answers
from harness.types import Dataset, Equality, Problem

HELD_OUT_ONE_IN = 10
NUMERIC = re.compile(r"[-+]?(\d[\d,]*)?\.?\d+")


def about(name: str) -> str:
    """One line about a named dataset."""
    source = DATASETS[name]
    if source is None:
        kinds = len(word_problems.KINDS)
        return f"embedded: {kinds} kinds of generated problems, {word_problems.TEST_PROBLEMS} to test"
    return f"{source.address}: {source.about} ({source.licence})"


def known_size(config: Configuration) -> int | None:
    """How many problems the test split of a named dataset has; None if that is not known without reading it."""
    if config.dataset not in DATASETS or config.data or config.split not in (None, "test"):
        return None
    source = DATASETS[config.dataset]
    return source.test_size if source else word_problems.TEST_PROBLEMS


def settle_split(config: Configuration, trains: bool) -> Configuration:
    """`config` with its split: `test`, or `all` for a dataset of one piece on which the run does not train.

    Raises UserError if the dataset has no such split, or if the run trains on what it would evaluate.
    """
    split = config.split or (ALL if not trains and _is_one(config) else TEST)
    source = DATASETS.get(config.dataset)
    if trains and source and TRAIN not in source.splits:
        raise UserError(
            f"--dataset {config.dataset}: is for evaluation alone: train on another, then evaluate it with --adapter"
        )
    if trains and splits.named(split) in (ALL, TRAIN):
        raise UserError(f"--split {split} evaluates the problems that the run trains on: leave --split out")
    if source and not config.data:
        registry.choose("split", split, {*source.splits, *source.splits.values(), TRAIN, TEST, ALL})
    if config.dataset in DATASETS and source is None:
        registry.choose("split", split, (TRAIN, TEST))
        for key in ("data", "question_column", "answer_column"):
            if getattr(config, key):
                raise UserError(f"{key} does not go with the embedded {config.dataset}: name another --dataset")
    return config.model_copy(update={"split": split})


def _is_one(config: Configuration) -> bool:
    """Whether the data are one file, a folder with one, or a hub dataset with one split, and that is no test split."""
    source = DATASETS.get(config.dataset)
    if config.dataset in DATASETS and (source is None or TEST not in source.splits or not config.data):
        return False
    place = address_of(config)
    if place and config.hub == MODELSCOPE:
        try:
            parts = splits.look(_from_modelscope(place), place.config)
        except UserError:  # reading the rows will report it
            return False
        return parts.is_one and TEST not in parts.by_split
    if place:
        try:
            there = hub_datasets.splits(hub_datasets.whole(place))
        except UserError:  # reading the rows will report it; a plan reads none
            return False
        return len(there) == 1 and splits.named(there[0]) != TEST
    path = Path(config.data or config.dataset)
    if not path.exists():
        return False
    parts = splits.look(path, source.config if source else None)
    return parts.is_one and TEST not in parts.by_split


def evaluation_problems(config: Configuration) -> Dataset:
    """The problems to evaluate, at most `limit`, in the file's order.

    A limit chooses by the hash of the question, as a file may be sorted: the same problems on every machine, and all of
    them also with a larger limit.
    """
    dataset = load(config, config.split)
    problems = dataset.problems
    if config.limit and config.limit_order == "hash":
        shas = [hashlib.sha256(each.question.encode("utf-8", "replace")).digest() for each in problems]
        chosen = sorted(range(len(problems)), key=shas.__getitem__)[: config.limit]
        return replace(dataset, problems=tuple(problems[place] for place in sorted(chosen)))
    return replace(dataset, problems=problems[: config.limit])


def training_problems(config: Configuration) -> tuple[Dataset, int]:
    """The problems with a true answer to train on, and how many are left out because the run evaluates them."""
    dataset = load(config, TRAIN)
    answered = tuple(problem for problem in dataset.problems if problem.answer is not None)
    unseen = overlap.without(answered, _read(config, config.split).problems)
    if answered and not unseen:
        raise UserError(
            f"{config.dataset}: the run evaluates all of its {len(answered)} training problems: give others"
        )
    return replace(dataset, problems=unseen), len(answered) - len(unseen)


def near_copies(config: Configuration, trained: Dataset) -> NearCopies:
    """The evaluated problems that are nearly the same as problems of the training."""
    return overlap.near_copies(trained.problems, _read(config, config.split).problems)


def lessons(config: Configuration) -> tuple[Dataset, int]:
    """The worked solutions of `sft_dataset` for SFT, and how many are left out because the run evaluates them.

    Only those whose true answer is a number, as in the tutorial, and none of a test split. A local copy of the run's
    own dataset is used for both. Raises UserError if none is left.
    """
    source = DATASETS.get(config.sft_dataset)
    of_its_own = {
        "dataset": config.sft_dataset,
        "data": config.sft_data or (config.data if config.sft_dataset == config.dataset else None),
        "question_column": None,
        "answer_column": None,
    }
    has_test = config.sft_dataset in DATASETS and (source is None or "test" in source.splits)
    split = "train" if has_test else "all"
    try:
        dataset = load(config.model_copy(update=of_its_own), split)
    except UserError as error:
        raise UserError(f"sft_dataset = {config.sft_dataset}: {str(error).replace('--data', 'sft_data')}") from error
    evaluated = [*_read(config, config.split).problems]
    if config.eval_every:
        evaluated += held_out_problems(config, load(config, TRAIN))
    worked = [
        problem
        for problem in dataset.problems
        if problem.solution and problem.answer is not None and NUMERIC.fullmatch(problem.answer)
    ]
    unseen = overlap.without(worked, evaluated)
    if worked and not unseen:
        raise UserError(
            f"sft_dataset = {config.sft_dataset}: the run evaluates all its {len(worked)} problems: name another, or "
            "--skip-sft"
        )
    if not unseen:
        raise UserError(
            f"sft_dataset = {config.sft_dataset}: none of its {len(dataset.problems)} problems has a worked solution "
            f"({' or '.join(columns.SOLUTION)}) and a numeric answer: name another, or --skip-sft"
        )
    return replace(dataset, problems=unseen), len(worked) - len(unseen)


def held_out_problems(config: Configuration, dataset: Dataset) -> list[Problem]:
    """The `eval_problems` training problems for accuracy probes during training: the same on every machine."""
    by_sha = {hashlib.sha256(each.question.encode()).hexdigest(): each for each in dataset.problems if each.answer}
    return [by_sha[sha] for sha in sorted(by_sha)[: config.eval_problems]]


def load(config: Configuration, split: str) -> Dataset:
    """One split of the configured dataset: one of its own splits, or `train` and `test` cut by hash, or `all`.

    Raises UserError if it has no problems or cannot be read.
    """
    dataset = _read(config, split)
    if not dataset.problems:
        raise UserError(
            f"{config.dataset}: none of its rows makes a problem of split '{split}' ({sum(dataset.skipped.values())} "
            "without text): give a larger file, or --split all where nothing is trained"
        )
    return dataset


def _read(config: Configuration, split: str) -> Dataset:
    if config.dataset in DATASETS and DATASETS[config.dataset] is None:
        return Dataset(config.dataset, split, word_problems.problems(split, config.language), "number")
    source, evaluated = DATASETS.get(config.dataset), config.split or TEST
    place = address_of(config)
    # A dataset for evaluation alone has only its test split, whatever the hub or a file calls it.
    source_split = ALL if source and TRAIN not in source.splits and splits.named(split) == TEST else split
    if config.hub == MODELSCOPE and (place or (source and not config.data)):
        place = place or Address(source.address, source.config, config.dataset)
        rows, cut = _local_rows(_from_modelscope(place), place.config, source_split, evaluated)
    elif place or (source and not config.data):
        place = hub_datasets.whole(place) if place else Address(source.address, source.config, config.dataset)
        rows, cut = _hub_rows(place, list(source.splits.values()) if source else None, source_split, evaluated)
    else:
        rows, cut = _local_rows(_local_path(config), source.config if source else None, source_split, evaluated)
    named = columns.Columns(
        config.question_column or (source.question if source else None),
        config.answer_column or (source.answer if source else None),
        source.solution if source else None,
    )
    name = config.dataset if source else config.dataset.rpartition("/")[2] if place else Path(config.dataset).stem
    its_columns = columns.find(rows, named, has_solutions=not source, where=config.data or config.dataset)
    read = columns.problems(rows, f"{name}-{ALL if cut else split}", its_columns)
    equality, problems = equality_of(config, read.problems), read.problems
    notes = [f"{config.dataset}: {count} rows {what}" for what, count in read.notes.items()]
    if cut:
        problems = [problem for problem in problems if held_out_split(problem.question) == splits.named(split)]
        if splits.named(split) == TEST:
            notes.append(
                f"{config.dataset}: has no test split: {len(problems)} of its {len(read.problems)} problems, one in "
                f"{HELD_OUT_ONE_IN} by hash of the question, are evaluated and never trained on"
            )
    return Dataset(name, split, tuple(problems), equality, dict(read.skipped), tuple(notes))


def _local_rows(path: Path, config: str | None, split: str, evaluated: str) -> tuple[list[dict], bool]:
    parts = splits.look(path, config, split)
    try:
        chosen, cut = splits.choose(parts.by_split, split, evaluated)
    except LookupError as error:
        there = next(iter(parts.by_split.values()))[0][0].name
        raise UserError(
            f"{path}: no file of split '{split}' (there is {there}): add {splits.named(split)}.jsonl or the like"
        ) from error
    return [row for name in chosen for file in parts.of(name) for row in read_rows(file)], cut


def _from_modelscope(place: Address) -> Path:
    """The folder with a dataset's files from ModelScope, downloaded."""
    repository = modelscope.IDS.get(place.address, place.address)
    return modelscope.download(repository, modelscope.DATASET, tuple(f"*{suffix}" for suffix in SUFFIXES))


def _hub_rows(place: Address, names: list[str] | None, split: str, evaluated: str) -> tuple[list[dict], bool]:
    names = names or hub_datasets.splits(place)
    try:
        chosen, cut = splits.choose(names, split, evaluated)
    except LookupError as error:
        raise UserError(f"{place}: no split '{split}': give --split {' or '.join(names)}") from error
    return [row for name in chosen for row in hub_datasets.rows(place, name)], cut


def named_equality(name: str) -> Equality:
    """How the answers of a named dataset compare."""
    source = DATASETS[registry.choose("dataset", name, DATASETS)]
    return source.equality if source else "number"


def equality_of(config: Configuration, problems: Iterable[Problem]) -> Equality:
    """How answers compare: as the named dataset says, else as numbers if every true answer is one."""
    if config.dataset in DATASETS:
        return named_equality(config.dataset)
    true_answers = [problem.answer for problem in problems if problem.answer is not None]
    return "number" if all(answers.number(answer) is not None for answer in true_answers) else "math"


def held_out_split(question: str) -> str:
    """`test` for one question in ten, by its hash, else `train`: the same on every machine."""
    return "test" if int(hashlib.sha256(question.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0 else "train"


def address_of(config: Configuration) -> Address | None:
    """The address of a dataset that is given by its hub id; None for a named one and for files on this machine.

    Raises UserError for the id of a named dataset.
    """
    given = config.dataset
    if given in DATASETS or Path(given).exists() or Path(given).suffix.lower() in SUFFIXES:
        return None
    place = hub_datasets.parse(given)
    for name, source in DATASETS.items():
        if place and source and place.address == source.address and place.config in (None, source.config):
            raise UserError(f"--dataset {given}: did you mean '{name}', the same with its columns and splits known?")
    return place


def _local_path(config: Configuration) -> Path:
    if config.data is not None and config.dataset not in DATASETS:
        raise UserError(f"--data names a copy of a named dataset: use --dataset {config.data} instead")
    path = Path(config.data or config.dataset)
    if not config.data and not path.exists() and path.suffix.lower() not in SUFFIXES and "/" not in config.dataset:
        registry.choose("dataset", config.dataset, DATASETS)
    if not path.exists():
        option = "--data" if config.data else "--dataset"
        raise UserError(f"{option} {path}: no such file or folder: give one that exists")
    return path
