"""Problems from the hub, from a local copy, from any file with two columns, or from the embedded generator."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness import answers, checkpoints, columns, registry, word_problems
from harness.config import Configuration
from harness.errors import UserError, cause
from harness.tables import SUFFIXES, read_rows, split_files
from harness.types import Dataset, Equality, Problem

HELD_OUT_ONE_IN = 10
NUMERIC = re.compile(r"[-+]?(\d[\d,]*)?\.?\d+")


@dataclass(frozen=True)
class Source:
    """Where a named dataset lives and how it is read.

    `splits`: the hub's splits; a dataset without `test` has a tenth of its problems held out for it.
    """

    address: str
    config: str
    splits: tuple[str, ...]
    question: str
    answer: str
    equality: Equality
    test_size: int | None
    about: str
    solution: str | None = None


DATASETS: dict[str, Source | None] = {
    # None is made by harness.word_problems: {"question": "Ani has 12 eggs …", "answer": "31"}
    "word-problems": None,
    # {"question": "Natalia sold clips to 48 …", "answer": "Natalia sold 48/2 = <<48/2=24>>24 …\n#### 72"}
    "gsm8k": Source(
        "openai/gsm8k", "main", ("train", "test"), "question", "answer", "number", 1319,
        "grade-school word problems, 7,473 to train and 1,319 to test",
    ),
    # {"prompt": "Let $x$ be …", "solution": "204", "data_source": "math_dapo", …}
    "dapo": Source(
        "open-r1/DAPO-Math-17k-Processed", "en", ("train",), "prompt", "solution", "math", None,
        "competition problems with integer answers; a tenth is held out by hash of the prompt",
    ),
    # {"problem": "Determine …", "generated_solution": "<think>\nOkay, …</think>…", "expected_answer": "4", …}
    "openmath-mini": Source(
        "unsloth/OpenMathReasoning-mini", "default", ("cot",), "problem", "expected_answer", "math", None,
        "competition problems with worked solutions, to warm up with; a tenth is held out by hash of the prompt",
        solution="generated_solution",
    ),
}  # fmt: skip


def about(name: str) -> str:
    """One line on a named dataset."""
    source = DATASETS[name]
    if source is None:
        kinds = len(word_problems.KINDS)
        return f"embedded: {kinds} kinds of generated problems, {word_problems.TEST_PROBLEMS} to test"
    return f"{source.address}: {source.about}"


def known_size(config: Configuration) -> int | None:
    """How many problems the test split of a named dataset has, where that is known without reading it."""
    if config.dataset not in DATASETS or config.data or config.split not in (None, "test"):
        return None
    source = DATASETS[config.dataset]
    return source.test_size if source else word_problems.TEST_PROBLEMS


def settle_split(config: Configuration, trains: bool) -> Configuration:
    """`config` with its split: `test`; but a single file is evaluated whole unless the run also trains on it."""
    whole = config.dataset not in DATASETS and Path(config.dataset).is_file() and not trains
    split = config.split or ("all" if whole else "test")
    if trains and split in ("all", "train"):
        raise UserError(f"--split {split} evaluates the problems that the run trains on: leave --split out")
    source = DATASETS.get(config.dataset)
    if source and not config.data:
        registry.choose("split", split, {*source.splits, "train", "test", "all"})
    if config.dataset in DATASETS and source is None:
        registry.choose("split", split, ("train", "test"))
        for key in ("data", "question_column", "answer_column"):
            if getattr(config, key):
                raise UserError(f"{key} does not go with the embedded {config.dataset}: name another --dataset")
    return config.model_copy(update={"split": split})


def evaluation_problems(config: Configuration) -> Dataset:
    """The problems to evaluate, at most `limit`, in the file's order.

    Those are drawn by the hash of the question, as a file may be sorted: the same on every machine, and among those of
    any larger limit.
    """
    dataset = load(config, config.split)
    problems = dataset.problems
    if config.limit and config.limit_order == "hash":
        shas = [hashlib.sha256(each.question.encode("utf-8", "replace")).digest() for each in problems]
        drawn = sorted(range(len(problems)), key=shas.__getitem__)[: config.limit]
        return replace(dataset, problems=tuple(problems[place] for place in sorted(drawn)))
    return replace(dataset, problems=problems[: config.limit])


def training_problems(config: Configuration) -> Dataset:
    """The problems to train on: those with a true answer that are never evaluated."""
    dataset = load(config, "train")
    answered = tuple(problem for problem in dataset.problems if problem.answer is not None)
    return replace(dataset, problems=answered)


def lessons(config: Configuration) -> tuple[Dataset, int]:
    """The worked solutions of `sft_dataset` to warm up with, and how many are left out as the run evaluates them.

    Only those whose true answer is a number, as the tutorial has it.
    """
    named = config.sft_dataset in DATASETS
    of_its_own = {
        "dataset": config.sft_dataset,
        "data": config.sft_data,
        "question_column": None,
        "answer_column": None,
    }
    split = "train" if named and DATASETS[config.sft_dataset] is None else "all"
    try:
        dataset = load(config.model_copy(update=of_its_own), split)
    except UserError as error:
        raise UserError(f"sft_dataset = {config.sft_dataset}: {str(error).replace('--data', 'sft_data')}") from error
    evaluated = {problem.question for problem in load(config, config.split).problems}
    if config.eval_every:
        evaluated |= held_out_questions(config, load(config, "train"))
    worked = [
        problem
        for problem in dataset.problems
        if problem.solution and problem.answer is not None and NUMERIC.fullmatch(problem.answer)
    ]
    kept = tuple(problem for problem in worked if problem.question not in evaluated)
    if worked and not kept:
        raise UserError(
            f"sft_dataset = {config.sft_dataset}: the run evaluates all its {len(worked)} problems: name another, or "
            "--skip-sft"
        )
    if not kept:
        raise UserError(
            f"sft_dataset = {config.sft_dataset}: none of its {len(dataset.problems)} problems has a worked solution "
            f"({' or '.join(columns.SOLUTION)}) and a numeric answer: name another, or --skip-sft"
        )
    return replace(dataset, problems=kept), len(worked) - len(kept)


def held_out_questions(config: Configuration, dataset: Dataset) -> set[str]:
    """The `eval_problems` training problems that accuracy is probed on while training: the same on every machine."""
    shas = {
        hashlib.sha256(each.question.encode()).hexdigest(): each.question for each in dataset.problems if each.answer
    }
    return {shas[sha] for sha in sorted(shas)[: config.eval_problems]}


def load(config: Configuration, split: str) -> Dataset:
    """One split of the configured dataset: a split of its own, or `train`, `test` and `all` cut by hash."""
    if config.dataset in DATASETS and DATASETS[config.dataset] is None:
        return Dataset(config.dataset, split, word_problems.problems(split, config.language), "number")
    path = _local_path(config)
    source = DATASETS.get(config.dataset)
    if path:
        files, cut = split_files(path, split, source.config if source else None)
        rows = [row for file in files for row in read_rows(file)]
    else:
        cut = split != "all" and "test" not in source.splits
        splits = source.splits if cut or split == "all" else (split,)
        rows = [row for each in splits for row in _hub_rows(config.dataset, source, each)]
    wanted = columns.Columns(
        config.question_column or (source.question if source else None),
        config.answer_column or (source.answer if source else None),
        source.solution if source else None,
    )
    name = config.dataset if source else Path(config.dataset).stem
    found = columns.find(rows, wanted, has_solutions=not source, where=path or config.dataset)
    problems, skipped = columns.problems(rows, f"{name}-{'all' if cut else split}", found)
    equality = equality_of(config, problems)
    if cut and split != "all":
        problems = [problem for problem in problems if held_out_split(problem.question) == split]
    if not problems:
        raise UserError(
            f"{config.dataset}: none of its {len(rows)} rows makes a problem of split '{split}' "
            f"({sum(skipped.values())} without text): give a larger file, or --split all where nothing is trained"
        )
    return Dataset(name, split, tuple(problems), equality, dict(skipped))


def named_equality(name: str) -> Equality:
    """How the answers of a named dataset compare."""
    source = DATASETS[registry.choose("dataset", name, DATASETS)]
    return source.equality if source else "number"


def equality_of(config: Configuration, problems: Iterable[Problem]) -> Equality:
    """How answers compare: as the named dataset says, else as numbers where every true answer of the file is one."""
    if config.dataset in DATASETS:
        return named_equality(config.dataset)
    known = [problem.answer for problem in problems if problem.answer is not None]
    return "number" if all(answers.number(answer) is not None for answer in known) else "math"


def held_out_split(question: str) -> str:
    """`test` for one question in ten, by its hash, else `train`: the same on every machine."""
    return "test" if int(hashlib.sha256(question.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0 else "train"


def _local_path(config: Configuration) -> Path | None:
    if config.data is not None:
        if config.dataset not in DATASETS:
            raise UserError(f"--data names a copy of a named dataset: use --dataset {config.data} instead")
        path = Path(config.data)
    elif config.dataset in DATASETS:
        return None
    else:
        path = Path(config.dataset)
        addresses = {source.address: name for name, source in DATASETS.items() if source}
        if config.dataset in addresses:
            raise UserError(f"unknown dataset '{config.dataset}': did you mean '{addresses[config.dataset]}'?")
        if not path.exists() and path.suffix.lower() not in SUFFIXES and "/" not in config.dataset:
            registry.choose("dataset", config.dataset, DATASETS)
    if not path.exists():
        option = "--data" if config.data else "--dataset"
        raise UserError(f"{option} {path}: no such file or folder: give one that exists")
    return path


def _hub_rows(name: str, source: Source, split: str) -> list[dict]:
    checkpoints.go_offline_without_network()
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    datasets.disable_progress_bars()
    try:
        return list(datasets.load_dataset(source.address, source.config, split=split))
    except (OSError, DatasetNotFoundError, ValueError) as error:
        # A ValueError is how the library says that an offline machine has no cached copy.
        raise UserError(
            f"{name}: cannot be loaded from the hub ({cause(error, 100)}): point --data at a local "
            "copy (file or folder)"
        ) from error
