"""What stands in a run folder's files besides replies and scores, as far as it is read again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.storage import records
from harness.storage.files import read_json
from harness.types import (
    AdapterEffect,
    Agreement,
    Difference,
    Equality,
    MetricDefinition,
    MetricValue,
    NearCopies,
    StoppedEarly,
)


@dataclass(frozen=True)
class Stage:
    """How far a stage is: running, stopped or done."""

    state: str
    seconds: float


@dataclass(frozen=True)
class ThroughputSettings:
    """How many of a side's replies were drawn with other engine arguments, before those were changed."""

    replies: int
    arguments: dict


@dataclass(frozen=True)
class Agreements:
    """How the engines that have an adapter were compared, and why others were not."""

    compared: tuple[Agreement, ...]
    not_compared: dict[str, str]


@dataclass(frozen=True)
class Provenance:
    """What a stage keeps of itself."""

    engine: str | None = None
    device: str | None = None
    batch_size: int | None = None
    weights: str | None = None
    server_program: str = "the server"
    server_decides: str = ""
    replaced: dict[str, str] = field(default_factory=dict)
    engine_args: dict = field(default_factory=dict)
    equality: Equality | None = None
    versions: dict[str, str] | None = None
    seconds: dict[str, float] | None = None
    adapter: dict[str, str] | None = None
    adapter_effect: AdapterEffect | None = None
    agreement: Agreements | None = None
    earlier_paces: tuple[ThroughputSettings, ...] = ()
    drawn_again: dict[str, int] | None = None
    skipped_rows: dict[str, int] = field(default_factory=dict)
    system_prompt: str | None = None
    unasked: int = 0
    data_notes: tuple[str, ...] = ()
    near_copies: NearCopies | None = None
    health: tuple[str, ...] = ()
    stopped_early: StoppedEarly | None = None


@dataclass(frozen=True)
class Record:
    """run.json."""

    command: str
    version: str
    configuration: dict
    stages: dict[str, Stage]
    provenance: dict[str, Provenance]
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rollout:
    """A line of train/rollouts.jsonl."""

    step: int
    question: str
    answer: str | None
    text: str
    accuracy: float | None
    rewards: dict


@dataclass(frozen=True)
class Effective:
    """effective_config.json: what a trainer says it ran with."""

    trainer: str
    parameters: int
    trainable_parameters: int
    arguments: dict
    replaced: dict


@dataclass(frozen=True)
class Document:
    """A line of also/SIDE.jsonl: a document of one of lm-eval's tasks under one of its filters."""

    task: str
    filter: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    target_hash: str
    scores: dict[str, float]
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AlsoMeans:
    """also/SIDE.json: the means of lm-eval's tasks, what each metric says, and which cannot be compared, and why."""

    tasks: dict[str, dict[str, MetricValue]]
    measures: dict[str, dict[str, MetricDefinition]]
    unpaired: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class AlsoCompared:
    """also/comparison.json: their differences, and how many documents have no partner."""

    tasks: dict[str, dict[str, Difference]]
    measures: dict[str, dict[str, MetricDefinition]]
    left_out: int
    unpaired: dict[str, dict[str, str]] = field(default_factory=dict)


def read(kind: type, path: Path, fix: str) -> dict[str, Any]:
    """The file's content, which has all that `kind` has; a UserError with the fix where it has not."""
    return refuse_unlike(kind, [read_json(path)], path, fix)[0]


def refuse_unlike(kind: type, values: Sequence[Any], path: Path, fix: str) -> Sequence[Any]:
    """The values out of a file; a UserError where one lacks what `kind` has."""
    try:
        for value in values:
            records.check(kind, value)
    except ValueError as error:
        raise UserError(f"{path}: not as the program wrote it ({error}): {fix}") from error
    return values


def read_also_compared(path: Path) -> dict[str, Any]:
    """The differences of lm-eval's tasks, each metric with what it says."""
    fix = "draw the report again"
    found = read(AlsoCompared, path, fix)
    for task, metrics in found["tasks"].items():
        if not metrics.keys() <= found["measures"].get(task, {}).keys():
            raise UserError(f"{path}: not as the program wrote it (a metric of {task} has no measure): {fix}")
    return found
