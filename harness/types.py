"""The nouns of the program: one word a thing, in one file that imports nothing of ours.

problem            one row of a dataset: a question and its true answer
format             the output contract: tags, layout and instructions, and what goes with them
prompt             what an engine is given: a problem as format and chat template render it
completion         what an engine generates for a prompt; a reply is the completion behind what the prompt already began
sample             one of several completions of a problem (--samples), told apart by `index`
score              what the metrics say of one completion: numbers, or None with the reason
metric definition  what a metric's name says of one completion; its metric value: the mean over all of them
side               the base, or base and adapter, evaluated in a run: before, sft or after; an Evaluation
difference         one metric of two sides, after minus before, over their pairs of completions
verdict            better, worse, or no evidence either way: of a difference, never of a completion
comparison         all differences of two sides; a baseline is the side that others are compared with
settings           what was asked for, as a recipe (a TOML file) and the command line say it
provenance         how a stage was in fact made: engine, device, versions, adapter, and what was replaced
stage              a step of a run, done once: evaluate, train, report, …
run folder         all files of one run: run.json, a folder for each side, train/, comparison.json, report/
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

Kind = TypeVar("Kind")
FinishReason = Literal["stop", "length"]
Equality = Literal["number", "math"]
CUT_OFF: FinishReason = "length"
ACCURACY_STRICT = "accuracy_strict"
ACCURACY_FLEXIBLE = "accuracy_flexible"
NO_EVIDENCE = "no evidence either way"
DESCRIBED = "described"
NOT_COMPARED = "not compared"
# Weights that are quantized in the checkpoint already.
AS_STORED = "as stored"


def from_row(kind: type[Kind], row: Mapping[str, Any]) -> Kind:
    """The dataclass from a checked JSON object, without the fields that only a newer program has."""
    return kind(**{each.name: row[each.name] for each in fields(kind) if each.name in row})


@dataclass(frozen=True)
class Problem:
    """One row of a dataset, whatever file it came from. `answer` and `solution` (worked) are None where it has none."""

    id: str
    question: str
    answer: str | None
    kind: str | None = None
    solution: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Problems of one split, and how their answers compare.

    `problems` are in the file's order; `skipped` counts rows that could not be read, by reason; `notes` say what was
    decided in reading.
    """

    name: str
    split: str
    problems: tuple[Problem, ...]
    equality: Equality
    skipped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """The output contract: how a reply must look, and what goes with it unless it is set otherwise.

    `answer_tags` is None where the answer is free text behind the reasoning. `layout` is a whole completion with
    {reasoning} and {answer} in it, `instructions` ask a model for it, `chinese` does so in Chinese. `rewards` is the
    preset that reads the format, `language` the target language of the reasoning.
    """

    name: str
    reasoning_tags: tuple[str, str]
    answer_tags: tuple[str, str] | None
    layout: str
    instructions: str
    chinese: str
    rewards: str
    language: str = "en"

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags in the order in which a reply has them."""
        return self.reasoning_tags + (self.answer_tags or ())


@dataclass(frozen=True)
class Sampling:
    """How completions are generated: `n` for each problem, of at most `max_tokens` tokens.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 are off.
    """

    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """What an engine generated for a prompt, a line of completions.jsonl.

    `text` is what was generated; `prefix` is how the prompt already began the reply (an opening reasoning tag, or
    nothing); `position` is the number of its request in the side, problem by problem and index by index: lines are in
    the order of finishing.
    """

    problem_id: str
    index: int
    question: str
    answer: str | None
    text: str
    n_tokens: int
    finish_reason: FinishReason
    prompt_sha: str
    seed: int
    kind: str | None = None
    prefix: str = ""
    position: int = 0

    @property
    def reply(self) -> str:
        return self.prefix + self.text

    @property
    def is_unasked(self) -> bool:
        """Whether the prompt left no room in the model's context: cut off before the first token."""
        return self.finish_reason == "length" and not self.n_tokens

    @property
    def place(self) -> tuple[str, int]:
        return self.problem_id, self.index


@dataclass(frozen=True)
class Request:
    """A completion still to be generated: a rendered prompt and its place in the run.

    `adapted`: by the base with the adapter, not by the base alone.
    """

    problem: Problem
    index: int
    prompt: str
    prompt_sha: str
    prefix: str
    seed: int
    position: int
    adapted: bool = False

    @property
    def place(self) -> tuple[str, int]:
        return self.problem.id, self.index

    @property
    def key(self) -> tuple[bool, str, int]:
        """Identifies the request among all of a run."""
        return self.adapted, *self.place

    def leave_unasked(self) -> Completion:
        """The empty completion of a prompt that leaves no room in the model's context."""
        return self.complete("", 0, "length")

    def complete(self, text: str, n_tokens: int, finish_reason: FinishReason) -> Completion:
        problem = self.problem
        return Completion(
            problem.id, self.index, problem.question, problem.answer, text, n_tokens, finish_reason, self.prompt_sha,
            self.seed, problem.kind, self.prefix, self.position,
        )  # fmt: skip


@dataclass(frozen=True)
class Score:
    """The scores of one completion by metric, a line of scores.jsonl; None is unscorable, with its reason.

    `language` is langid's label of the reasoning, or of the whole reply where it has none.
    """

    problem_id: str
    index: int
    extracted: str | None
    language: str
    scores: dict[str, float | None]
    reasons: dict[str, str]

    @property
    def place(self) -> tuple[str, int]:
        return self.problem_id, self.index

    def flip(self, after: "Score") -> str | None:
        """Which side is correct and in the required format: `gained` (after alone), `lost` (before alone), `both` or
        `neither`; None where a side is unscored."""
        values = self.scores[ACCURACY_STRICT], after.scores[ACCURACY_STRICT]
        if None in values:
            return None
        return {(0, 1): "gained", (1, 0): "lost", (1, 1): "both", (0, 0): "neither"}[values]


@dataclass(frozen=True)
class MetricValue:
    """A metric's mean over `n` scored completions with its 95 % interval; `unscored` ones are left out of it."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int


@dataclass(frozen=True)
class Evaluation:
    """One side of a run with its scores, which stand in the order of the completions; `settings` are the run's."""

    name: str
    completions: tuple[Completion, ...]
    scores: tuple[Score, ...]
    metrics: dict[str, MetricValue]
    provenance: dict
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One metric of two sides, over their pairs. `delta` is after minus before, with its 95 % interval.

    `detectable` is the smallest difference that so many `problems` show, `needed` how many would show this one (with
    80 % power, among all that is tested), `changed` how many differ; `note` says where the interval and the tests
    disagree. `one_sided` pairs lack a score on one side and are left out; scored at their extremes, they would put the
    difference between `lowest` and `highest`.
    """

    before: float | None
    after: float | None
    delta: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_adjusted: float | None
    test: str | None
    n_pairs: int
    verdict: str
    detectable: float | None = None
    needed: int | None = None
    note: str = ""
    problems: int | None = None
    changed: int | None = None
    one_sided: int = 0
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class OverSeeds:
    """One metric's difference over several trainings by one recipe: `deltas` is each adapter's, by seed in order.

    `delta` is their mean, `spread` their standard deviation. Both intervals are 95 % and of what another training is
    expected to bring: from `seeds_low` to `seeds_high` on these very problems (Student's t over seeds), from `low` to
    `high` on others like these `problems` too; test and verdict are of the latter.
    """

    deltas: dict[str, float]
    delta: float | None
    spread: float | None
    seeds_low: float | None
    seeds_high: float | None
    low: float | None
    high: float | None
    problems: int
    p_value: float | None
    p_adjusted: float | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same problems.

    `flips` counts pairs by Score.flip, `gain` is gain.Gain as shares, `languages` counts each side's completions by
    language among the first `samples` pairs; `others` are the steps between more than two sides.
    """

    metrics: dict[str, Difference]
    flips: dict[str, int]
    languages: dict[str, dict[str, int]]
    samples: int
    warnings: tuple[str, ...] = ()
    others: tuple[dict, ...] = ()
    gain: dict[str, float] | None = None

    def as_dict(self) -> dict:
        return asdict(self)
