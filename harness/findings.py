"""What is found out about a side besides its replies: what provenance holds of checks, copies and early ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.types import from_row

# Two engines disagree about an adapter whose difference between them is more than so many times the base's, and more
# than such a share of what the adapter changes.
TIMES_BASE, SHARE_OF_EFFECT = 3.0, 0.1
# Fewer fixed questions that a server answers otherwise than before may be chance.
LEAST_CHANGED = 2


@dataclass(frozen=True)
class AdapterEffect:
    """How far an adapter changes an engine's output on probe prompts, and whether the base stays as it is.

    `difference`: the largest change of a token's log-probability, or the share of greedy completions that change, which
    is weaker evidence; `noise`: the same between two passes of the base; `leak`: how far, of the way from base to
    adapter, the base moves when both share a batch (0 not at all, 1 the whole way), beyond what such a batch does.
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
    def is_unclear(self) -> bool:
        """Whether greedy replies change too often by themselves to tell what the adapter does."""
        return self.evidence == "greedy replies" and self.noise > 0 and not self.acts

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
    """How many evaluated problems are nearly in the training data, with the nearest as examples."""

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
        return self.adapter > max(self.resolution, SHARE_OF_EFFECT * self.effect)

    @property
    def is_conclusive(self) -> bool:
        """Whether another adapter would have been noticed: the effect is larger than the engines' own difference."""
        return self.effect > self.resolution

    @property
    def resolution(self) -> float:
        return TIMES_BASE * max(self.base, self.rounding)


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
    """Where a side's run with --stop-early ended, from its provenance; None for a run without."""
    row = provenance.get("stopped_early")
    return from_row(StoppedEarly, row) if row else None


@dataclass(frozen=True)
class SameModel:
    """What a server answered to fixed questions before a side's first completion, None where two answers differed.

    `changed` is how many of these answers it gave no more after the last completion, None as long as it was not asked;
    `models` and `configurations` are what it called those that generated the side. harness/evaluation/same_model.py
    has the rule.
    """

    answers: tuple[str | None, ...]
    changed: int | None
    models: tuple[str, ...]
    configurations: tuple[str, ...]

    @property
    def steady(self) -> int:
        return sum(answer is not None for answer in self.answers)

    @property
    def is_another(self) -> bool:
        """Whether the server changed its model meanwhile."""
        changed = self.changed or 0
        return len(self.models) > 1 or (changed >= LEAST_CHANGED and 2 * changed > self.steady)

    def in_words(self, side: str) -> str:
        """The sentence on a server that changed its model."""
        return (
            f"{side}: the server changed its model since the first reply (fixed questions that are answered otherwise: "
            f"{self.changed or 0} of {self.steady}; names that it gave the model: {len(self.models)})"
        )


def same_model(provenance: Mapping[str, Any]) -> SameModel | None:
    """What a server answered before a side, from its provenance; None for another engine or an older version."""
    row = provenance.get("same_model")
    return from_row(SameModel, row) if row else None
