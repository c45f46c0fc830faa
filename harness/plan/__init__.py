"""The plan of a run, from names, figures and earlier runs alone: no data, no weights, no network."""

from pathlib import Path

from harness.config import Configuration
from harness.data import datasets
from harness.plan.case import UNKNOWN, Case, Machine, Trainer, earlier_runs_of
from harness.plan.memory import memory_of
from harness.plan.sample_size import detectable_difference, plan_of_looks, problems_needed
from harness.plan.seconds import Estimate, seconds_of, sum_of
from harness.stages import BASE, SIDES, of_base, title_of


def make_plan(
    config: Configuration,
    names: list[str],
    folder: Path,
    earlier_runs: Path,
    machine: Machine,
    trainer: Trainer,
    detect: float | None = None,
) -> dict:
    """Stages, sizes, the smallest difference that the run can see, memory, seconds, and the settings in force.

    Every estimate names its source, or is "unknown". `detect` is a share: how many problems such a difference needs is
    then part of the plan.
    """
    whole, problems = _problem_counts(config)
    case = Case(config, names, problems, machine, trainer, list(earlier_runs_of(earlier_runs, config.checkpoint)))
    trains = "train" in names
    trainings = config.training_seeds or 1
    replies = {
        side: (problems or 0) * config.samples_of(side != BASE) * (1 if side == BASE else trainings)
        for side in names
        if side in SIDES
    }
    estimates = {name: _over_trainings(case, name, seconds_of(case, name)) for name in names}
    return {
        "stages": [title_of(name) for name in names],
        **({"trainings": config.training_seeds} if config.training_seeds else {}),
        "run folder": str(folder),
        "problems": problems or UNKNOWN,
        "replies a side": _of_each_side(replies),
        "most tokens a side": _of_each_side({side: count * config.max_tokens for side, count in replies.items()}),
        "training completions": case.work("train") * trainings if trains else 0,
        "detectable difference": detectable_difference(case),
        **({"problems needed": problems_needed(case, detect, whole)} if detect else {}),
        **({"stop early": plan_of_looks(case)} if config.stop_early else {}),
        "parameters": str(case.size),
        "memory": memory_of(case),
        "seconds": {title_of(name): seconds for name, (seconds, _) in estimates.items()},
        "seconds in all": sum_of([seconds for seconds, _ in estimates.values()]),
        "seconds from": {title_of(name): source for name, (_, source) in estimates.items()},
        "replaced here": (trainer.replaced if trains else {}) or "nothing",
        "settings": (trainer.config if trains else config).model_dump(mode="json", exclude_none=True),
    }


def _over_trainings(case: Case, name: str, estimate: Estimate) -> Estimate:
    """A stage's seconds over all trainings; the base is measured once."""
    (seconds, source), times = estimate, case.config.training_seeds
    if times is None or seconds == UNKNOWN or name in of_base(case.config):
        return estimate
    return round(times * seconds, 1), f"{times} times, {source}"


def _of_each_side(counts: dict[str, int]) -> dict[str, int] | int | str:
    """The number of every side, or each side's own if they differ."""
    return counts if len({*counts.values()}) > 1 else next(iter(counts.values()), 0) or UNKNOWN


def _problem_counts(config: Configuration) -> tuple[int | None, int | None]:
    """How many problems the split has, and how many of them are evaluated."""
    size = datasets.known_size(config)
    is_here = config.data or (config.dataset not in datasets.DATASETS and not datasets.address_of(config))
    if size is None and is_here:
        size = len(datasets.load(config, config.split).problems)
    return size, min(size, config.limit or size) if size else config.limit
