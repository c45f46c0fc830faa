"""What the files of a run folder hold besides completions and scores, as far as the program reads it again."""

from dataclasses import dataclass, field

from harness.findings import AdapterEffect, Agreement, NearCopies, SameModel, StoppedEarly
from harness.metric_definitions import MetricDefinition
from harness.types import Difference, Equality, MetricValue


@dataclass(frozen=True)
class StageState:
    """Whether a stage is `running`, `stopped` or `done`, the seconds it took so far, and when it ended.

    `ended` is ISO 8601 in UTC; empty where the stage is not done, or an older version recorded it.
    """

    state: str
    seconds: float
    ended: str = ""


@dataclass(frozen=True)
class ThroughputSettings:
    """Engine arguments that were changed later, and how many of a side's completions were generated with them."""

    replies: int
    arguments: dict


@dataclass(frozen=True)
class Agreements:
    """How trainer and engines agree on an adapter, and why some were not compared."""

    compared: tuple[Agreement, ...]
    not_compared: dict[str, str]


@dataclass(frozen=True)
class Provenance:
    """What a stage notes about itself."""

    engine: str | None = None
    device: str | None = None
    batch_size: int | None = None
    data_parallel_size: int | None = None
    loading: str = ""
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
    same_model: SameModel | None = None
    trained_by: str = ""


@dataclass(frozen=True)
class Record:
    """run.json."""

    command: str
    version: str
    configuration: dict
    stages: dict[str, StageState]
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
class EffectiveConfig:
    """effective_config.json: the settings that a trainer ran with."""

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
class ExtraTaskMeans:
    """also/SIDE.json: the means of lm-eval's tasks, what each metric says, and which cannot be compared, and why."""

    tasks: dict[str, dict[str, MetricValue]]
    measures: dict[str, dict[str, MetricDefinition]]
    unpaired: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtraTaskDifferences:
    """also/comparison.json: their differences, and how many documents only one side has."""

    tasks: dict[str, dict[str, Difference]]
    measures: dict[str, dict[str, MetricDefinition]]
    left_out: int
    unpaired: dict[str, dict[str, str]] = field(default_factory=dict)
