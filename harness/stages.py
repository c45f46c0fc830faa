"""The table of stages, in order: the name of each, the function that runs it, what it reads, writes and makes.

To add a stage, add its row in its place. The function in `runs` is called with the run, the row, whether to be quiet,
and a callback for new completions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.config import Configuration

SIDES = ("before", "sft", "after")
BASE, LAST = SIDES[0], SIDES[-1]
BOTH, EXTRA_TASKS = f"{BASE}+{LAST}", "also-"
REPORT = "report"


@dataclass(frozen=True)
class Stage:
    """One stage. `name` is used in run.json and for its process, `title` is what people read.

    `when` says whether a run of a configuration, with or without --before-after, has the stage. `reads` and `writes`
    are places in the run folder; `data` is the function of harness.data.datasets that returns its problems. A stage
    makes the sides in `makes`, or scores extra tasks on the side `tasks_of`, or `trains`. `unit` is what its progress
    counts.
    """

    name: str
    title: str
    when: Callable[[Configuration, bool], bool]
    runs: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    data: str | None = None
    makes: tuple[str, ...] = ()
    tasks_of: str | None = None
    trains: bool = False
    unit: str = "replies"

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names under which run.json has its state: a stage that makes two sides has one for each."""
        return self.makes if len(self.makes) > 1 else (self.name,)


def _trains(config: Configuration, before_after: bool) -> bool:
    return before_after and not config.adapter


def _trains_sft(config: Configuration, before_after: bool) -> bool:
    return _trains(config, before_after) and config.trains_sft


EVALUATE, TASKS = "harness.cli.stage_functions:evaluate_sides", "harness.cli.stage_functions:measure_tasks"
ROWS = (
    Stage(
        BASE, "before", lambda config, _: not config.adapter, EVALUATE,
        reads=(), writes=("before/",), data="evaluation_problems", makes=(BASE,),
    ),
    Stage(
        BOTH, "before and after", lambda config, _: bool(config.adapter), EVALUATE,
        reads=(), writes=("before/", "after/"), data="evaluation_problems", makes=(BASE, LAST),
    ),
    Stage(
        f"{EXTRA_TASKS}{BASE}", "extra tasks before", lambda config, _: bool(config.also), TASKS,
        reads=(), writes=("also/",), tasks_of=BASE, unit="documents",
    ),
    Stage(
        "warm-up", "train-sft", _trains_sft, "harness.cli.stage_functions:train_sft",
        reads=(), writes=("train/sft/",), data="lessons", trains=True, unit="epochs",
    ),
    Stage(
        "sft", "eval-sft", _trains_sft, EVALUATE,
        reads=("train/sft/adapter",), writes=("sft/",), data="evaluation_problems", makes=("sft",),
    ),
    Stage(
        "train", "train", _trains, "harness.cli.stage_functions:train_grpo",
        reads=("train/sft/adapter",), writes=("train/",), data="training_problems", trains=True, unit="completions",
    ),
    Stage(
        LAST, "after", _trains, EVALUATE,
        reads=("train/adapter",), writes=("after/",), data="evaluation_problems", makes=(LAST,),
    ),
    Stage(
        f"{EXTRA_TASKS}{LAST}", "extra tasks after",
        lambda config, before_after: bool(config.also) and (before_after or bool(config.adapter)), TASKS,
        reads=("train/adapter",), writes=("also/",), tasks_of=LAST, unit="documents",
    ),
    Stage(
        REPORT, "report", lambda *_: True, "harness.cli.stage_functions:write_report",
        reads=("before/", "sft/", "after/", "also/", "train/"), writes=("comparison.json", "report/"), unit="report",
    ),
)  # fmt: skip
STAGES = {stage.name: stage for stage in ROWS}


def state_names(name: str) -> tuple[str, ...]:
    """The names under which run.json has a stage's state."""
    return STAGES[name].state_names if name in STAGES else (name,)


def title_of(name: str) -> str:
    """The title of a stage, by its name in run.json."""
    return STAGES[name].title if name in STAGES else name


def of_run(config: Configuration, before_after: bool) -> list[str]:
    """The names of a run's stages, in order. With a given adapter none trains, and one makes both sides."""
    return [each.name for each in ROWS if each.when(config, before_after)]


def of_base(config: Configuration) -> list[str]:
    """The names of the stages that evaluate the base model, with which every run begins."""
    return [name for name in of_run(config, before_after=False) if name != REPORT]


def of_training(config: Configuration) -> list[str]:
    """The names of the stages that train."""
    return [name for name in of_run(config, before_after=True) if STAGES[name].trains]


def sides_of(names: list[str]) -> set[str]:
    """The sides that these stages make."""
    return {side for name in names for side in STAGES[name].makes}
