"""The nouns of the program. Standard library only; every other room speaks in these."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

FinishReason = Literal["stop", "length"]
Equality = Literal["number", "math"]
CUT_OFF: FinishReason = "length"
FLIPS_BY = "accuracy_strict"
ANSWERED_BY = "accuracy_flexible"
NO_EVIDENCE = "no evidence either way"
DESCRIBED = "described"
NOT_COMPARED = "not compared"
# How often the base's disagreement the adapter's must be, and at least which share of what the adapter changes.
FAR, SHARE = 3.0, 0.1
# Weights that are quantized in the checkpoint already.
AS_STORED = "as stored"


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
    {reasoning} and {answer} in it, `instructions` ask a model for it. `rewards` is the preset that reads the format,
    `language` the target language of the reasoning.
    """

    name: str
    reasoning_tags: tuple[str, str]
    answer_tags: tuple[str, str] | None
    layout: str
    instructions: str
    rewards: str
    language: str = "en"

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags in the order in which a reply has them."""
        return self.reasoning_tags + (self.answer_tags or ())


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn: `n` replies a problem, at most `max_tokens` tokens each.

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
    """One reply, as a line of completions.jsonl has it.

    `prefix` is what of the reply the prompt already ended with (an opening reasoning tag, or nothing); `position` is
    its place in the dataset's order, as the journal is in the order of finishing.
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
        """Whether the prompt left the reply no room in the model's context: cut off before its first token."""
        return self.finish_reason == "length" and not self.n_tokens

    @property
    def place(self) -> tuple[str, int]:
        return self.problem_id, self.index


@dataclass(frozen=True)
class Request:
    """One reply still to be drawn: a rendered prompt and the place it has in the run.

    `adapted`: it is the adapter's to answer, not the base model's.
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
        """What tells it from every other request of a run."""
        return self.adapted, *self.place

    def leave_unasked(self) -> Completion:
        """What stands for a reply that the prompt leaves no room for in the model's context."""
        return self.complete("", 0, "length")

    def complete(self, text: str, n_tokens: int, finish_reason: FinishReason) -> Completion:
        known = self.problem
        return Completion(
            known.id, self.index, known.question, known.answer, text, n_tokens, finish_reason, self.prompt_sha,
            self.seed, known.kind, self.prefix, self.position,
        )  # fmt: skip


@dataclass(frozen=True)
class AdapterEffect:
    """How far an adapter moves what an engine says on probe prompts, and whether it moves only what it should.

    `difference`: the largest change of a token's log-probability, or the share of greedy replies that change, which is
    weaker evidence; `noise`: the same between two passes of the base; `leak`: how far, of the way from base to adapter,
    the base moves when both share a batch (0 not at all, 1 the whole way).
    """

    evidence: Literal["log-probabilities", "greedy replies"]
    difference: float
    noise: float
    leak: float
    prompts: int

    @property
    def acts(self) -> bool:
        return self.difference > 3 * self.noise

    @property
    def leaks(self) -> bool:
        return self.leak > 0.5


@dataclass(frozen=True)
class NearCopy:
    """An evaluated question, the training question nearest to it, and the share of its n-grams that training has."""

    evaluated: str
    trained: str
    share: float


@dataclass(frozen=True)
class NearCopies:
    """How many of the evaluated problems are nearly in the training, with the nearest as examples."""

    count: int
    evaluated: int
    examples: tuple[NearCopy, ...]


@dataclass(frozen=True)
class Agreement:
    """How far two engines are apart, in nats a token: mean absolute differences over so many `tokens`.

    `effect` is how far the adapter moves the one that it moves more; `ratio`, how much of the first engine's effect
    the second one has (1: the same, 2: twice as much, 0: none or another).
    """

    engines: tuple[str, str]
    base: float
    adapter: float
    effect: float
    ratio: float
    tokens: int
    rounding: float

    @property
    def fails(self) -> bool:
        return self.adapter > max(self.resolution, SHARE * self.effect)

    @property
    def says_something(self) -> bool:
        """Whether another adapter would have shown: the effect is more than what the engines differ by anyway."""
        return self.effect > self.resolution

    @property
    def resolution(self) -> float:
        return FAR * max(self.base, self.rounding)


@dataclass(frozen=True)
class StoppedEarly:
    """Where a comparison with --stop-early ended: at the `look` (from 1) of `looks`, after `problems` of all `of`.

    `metric` decided; the difference had to be significant at the look's own one of the `levels`, all fixed beforehand.
    """

    metric: str
    look: int
    looks: int
    problems: int
    of: int
    levels: tuple[float, ...]

    @property
    def level(self) -> float:
        return self.levels[self.look - 1]

    @property
    def is_early(self) -> bool:
        """Whether problems were left."""
        return self.look < self.looks


def stopped_early(provenance: Mapping[str, Any]) -> StoppedEarly | None:
    """Where a side's own comparison ended that looked early, out of its provenance; None where it did not look."""
    kept = provenance.get("stopped_early")
    return StoppedEarly(**kept) if kept else None


@dataclass(frozen=True)
class Score:
    """Every judgement of one reply, as a line of scores.jsonl has it; None is unscorable, with its reason.

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
        """`gained`, `lost`, `both` or `neither`, by being right in the layout; None where a side is unscored."""
        values = self.scores[FLIPS_BY], after.scores[FLIPS_BY]
        if None in values:
            return None
        return {(0, 1): "gained", (1, 0): "lost", (1, 1): "both", (0, 0): "neither"}[values]


@dataclass(frozen=True)
class MetricDefinition:
    """What a metric says of one reply.

    `share`: each reply is 0 or 1; `percent`: its mean is shown in percent; `better`: 1 where more is better, -1
    where less is, 0 where neither.
    """

    about: str
    share: bool = True
    percent: bool = True
    better: int = 1

    def show(self, value: float | None, signed: bool = False) -> str:
        """A mean as people read it; `signed`, a difference: of percents, in percentage points (pp)."""
        if value is None:
            return "unknown"
        if signed:
            return f"{100 * value:+.1f} pp" if self.percent else f"{value:+.2f}"
        return f"{value:.1%}" if self.percent else f"{value:.2f}"

    def interval(self, low: float | None, high: float | None, signed: bool = False) -> str:
        """Both ends, of a difference where `signed`; empty where they are not known."""
        if low is None or high is None:
            return ""
        return f"{self.show(low, signed).removesuffix(' pp')} … {self.show(high, signed)}"


METRIC_DEFINITIONS = {
    "format_strict": MetricDefinition("the whole reply is exactly the layout"),
    "format_tags": MetricDefinition("share of the format's tags that occur exactly once", share=False),
    "accuracy_strict": MetricDefinition("in the layout, and its answer is right"),
    "accuracy_flexible": MetricDefinition("the final answer is right, wherever it stands"),
    "language_ratio": MetricDefinition("the reasoning is in the target language"),
    "language_raw": MetricDefinition("the whole reply, as it is, is labelled as the target language"),
    "truncated": MetricDefinition("cut off at the token limit", better=-1),
    "tokens": MetricDefinition("tokens a reply", share=False, percent=False, better=0),
}


def definition_of(name: str) -> MetricDefinition:
    """The measure behind a metric's name; a reward function's is its mean."""
    if name.startswith("pass@"):
        return MetricDefinition(
            f"at least one of {name.removeprefix('pass@')} replies has the right answer", share=False
        )
    if name.startswith("maj@"):
        return MetricDefinition(
            f"the answer that most of {name.removeprefix('maj@')} replies give is right", share=False
        )
    return METRIC_DEFINITIONS.get(name) or MetricDefinition(
        f"mean of {name.removeprefix('reward/')}", share=False, percent=False
    )


@dataclass(frozen=True)
class MetricValue:
    """A mean over `n` scored replies with its 95 % interval; `unscored` replies are left out of it."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int


@dataclass(frozen=True)
class Evaluation:
    """One side of a run, graded. `completions` and `scores` stand in the same order; `settings` are the run's."""

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
    80 % power, among all that is tested), `changed` how many differ; `note` says where interval, test and all tests
    disagree. `one_sided` pairs lack a score on one side and are left out: with any, it would be `lowest` to `highest`.
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

    @classmethod
    def stored(cls, row: Mapping[str, Any]) -> "Difference":
        """The difference that a row of comparison.json holds, a newer program's too."""
        return cls(**{each.name: row[each.name] for each in fields(cls) if each.name in row})


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

    `flips` counts replies by which side was right in the layout, `gain` is breakdown.Gain as shares, `languages` counts
    each side's replies by language among the first `samples` of the run.
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
