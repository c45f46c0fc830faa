"""How much of a change is format alone: of the replies correct and in the required format on one side, whose answer was
correct on both."""

from collections import Counter
from dataclasses import dataclass
from itertools import product

from harness.statistics.pairs import asked_of_both, pair, uneven
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Evaluation, Score


@dataclass(frozen=True)
class Gain:
    """How the change of accuracy_strict splits, over `n` pairs: `layout` is of replies whose answer was correct on both
    sides, `answers` the rest. The fields are counts of pairs; `delta` is their net sum as a share.

    `by_problem`: the sides have different numbers of replies. Then `n` counts problems, and each adds the shares of all
    pairs that its replies make.
    """

    n: int
    gained_by_layout: float
    gained_by_answer: float
    lost_by_layout: float
    lost_by_answer: float
    by_problem: bool = False

    @property
    def layout(self) -> float:
        return (self.gained_by_layout - self.lost_by_layout) / self.n

    @property
    def answers(self) -> float:
        return (self.gained_by_answer - self.lost_by_answer) / self.n

    @property
    def delta(self) -> float:
        return self.layout + self.answers

    def as_shares(self) -> dict[str, float]:
        return {"n": self.n, "layout": self.layout, "answers": self.answers, "delta": self.delta}


def gain(before: Evaluation, after: Evaluation, same_prompts: bool = True) -> Gain | None:
    """Split the change of accuracy_strict; None where no pair is scored."""
    differ = uneven(before, after)
    changes = (_changes_by_problem if differ else _changes_by_pair)(before, after, same_prompts)
    counts = dict.fromkeys(("gained_by_layout", "gained_by_answer", "lost_by_layout", "lost_by_answer"), 0)
    for ((old, answered), (new, answers)), times in changes.items():
        if old != new:
            counts[f"{'gained' if new else 'lost'}_by_{'layout' if answered == answers else 'answer'}"] += times
    n = round(sum(changes.values()))
    return Gain(n, **counts, by_problem=differ) if n else None


def _changes_by_pair(before: Evaluation, after: Evaluation, same_prompts: bool) -> Counter:
    """How often a reply of one result was followed by one of another, over the scored pairs."""
    pairs = pair(before, after, same_prompts)
    results = ((_result(old), _result(new)) for old, new in zip(pairs.before, pairs.after, strict=True))
    return Counter(each for each in results if None not in (each[0][0], each[1][0]))


def _changes_by_problem(before: Evaluation, after: Evaluation, same_prompts: bool) -> Counter:
    """The same over all pairs that the replies to a problem make, which count once together."""
    changes = Counter()
    then, now = _results_by_problem(before), _results_by_problem(after)
    for problem in asked_of_both(before, after, same_prompts):
        old, new = then.get(problem, Counter()), now.get(problem, Counter())
        for one, other in product(old, new):
            changes[one, other] += old[one] * new[other] / (old.total() * new.total())
    return changes


def _results_by_problem(side: Evaluation) -> dict[str, Counter]:
    """How many of a problem's scored replies have which result."""
    counts: dict[str, Counter] = {}
    for score in side.scores:
        if (result := _result(score))[0] is not None:
            counts.setdefault(score.problem_id, Counter())[result] += 1
    return counts


def _result(score: Score) -> tuple[float | None, float | None]:
    """Whether a reply is correct and in the required format, and whether its answer is correct."""
    return score.scores.get(ACCURACY_STRICT), score.scores.get(ACCURACY_FLEXIBLE)
