"""Differences of two sides, metric by metric: interval, test, and a verdict on the few that the run is about.

The primary family is fixed before any reply is read: correct answers (accuracy_flexible), the required format
(format_strict), both at once (accuracy_strict), and language_ratio where another language than English is asked for.
Holm's method corrects the p-values of those that vary at all; every other metric is described, with an interval and no
verdict. A metric whose pairs never differ cannot be rejected whatever its level, so leaving it out costs no error
(Tarone 1990, Biometrics 46:515). A run may name one primary metric instead, which is then alone; with
--stop-early its interval and its p-value are those that allow for the looks (harness/statistics/sequential.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from harness.findings import StoppedEarly
from harness.metric_definitions import MetricDefinition
from harness.statistics import power, sequential, stats
from harness.statistics.pairs import by_problem
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, DESCRIBED, NO_EVIDENCE, NOT_COMPARED, Difference

SIGNIFICANT = stats.LEVEL
PRIMARY = (ACCURACY_FLEXIBLE, "format_strict", ACCURACY_STRICT)
LANGUAGE = "language_ratio"
MCNEMAR = "exact McNemar"
USUAL_LANGUAGES = (None, "en")


def primary_metrics(language: str | None) -> tuple[str, ...]:
    """The metrics that get a verdict, where `language` is the target language of the reasoning."""
    return PRIMARY if language in USUAL_LANGUAGES else (*PRIMARY, LANGUAGE)


@dataclass(frozen=True)
class Estimate:
    """One metric's difference over the pairs that are scored on both sides, before anything is tested.

    `before`, `after` and `delta` are means over `problems`, each counting once; all of it is None without a pair.
    `spread` is the standard deviation of the problems' differences where these are not all -1, 0 or 1.
    """

    definition: MetricDefinition
    n_pairs: int
    one_sided: int
    before: float | None = None
    after: float | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    test: str | None = None
    problems: int | None = None
    changed: int | None = None
    lowest: float | None = None
    highest: float | None = None
    spread: float | None = None

    def detectable(self, tests: int) -> float | None:
        """The smallest difference that so many problems show, as one of several tests; None where none would."""
        if not self.changed:
            return None
        if self.test == MCNEMAR:
            return power.detectable_difference(self.problems, self.changed / self.problems, tests=tests)
        return power.detectable_mean(self.problems, self.spread, tests=tests) if self.spread else None

    def needed(self, tests: int) -> int | None:
        """How many problems show a difference of this size, as one of several tests; None where it is 0."""
        if self.test == MCNEMAR:
            return power.problems_needed(self.delta, self.changed / self.problems, tests=tests)
        return power.needed_for_mean(self.delta, self.spread, tests=tests) if self.spread else None

    def described(self) -> Difference:
        """The difference without a verdict."""
        return self._difference(verdict=NOT_COMPARED if self.p_value is None else DESCRIBED)

    def with_verdict(self, p_adjusted: float, tests: int, stopped: StoppedEarly | None) -> Difference:
        """The difference with its verdict as one of several tests."""
        if self.p_value is None:
            return self.described()
        return self._difference(
            p_adjusted=p_adjusted,
            verdict=verdict_of(self.definition, self.delta, p_adjusted),
            detectable=self.detectable(max(tests, 1)),
            needed=self.needed(max(tests, 1)),
            note=_note(self, p_adjusted, tests, stopped),
        )

    def _difference(self, *, verdict: str, p_adjusted: float | None = None, **more) -> Difference:
        values = {name: getattr(self, name) for name in SHARED}
        return Difference(**values, verdict=verdict, p_adjusted=p_adjusted, **more)


SHARED = {field.name for field in fields(Estimate)} & {field.name for field in fields(Difference)}


def primary_differences(
    values: Mapping[str, tuple[MetricDefinition, np.ndarray, np.ndarray]],
) -> dict[str, Difference]:
    """Differences of metrics that all get a verdict, from the definition and both sides' values, a pair per problem."""
    family = {name: estimate(metric, old, new, np.arange(len(old))) for name, (metric, old, new) in values.items()}
    return with_verdicts([family], family)[0]


def estimate(
    definition: MetricDefinition,
    old: np.ndarray,
    new: np.ndarray,
    problems: np.ndarray,
    level: float = SIGNIFICANT,
) -> Estimate:
    """Estimate a metric's difference: both sides' values pair by pair, NaN where unscored, and each pair's problem.

    The interval is the one that holds all differences which are not significant at the level.
    """
    missing = np.isnan(old), np.isnan(new)
    scored = ~missing[0] & ~missing[1]
    counts = Estimate(definition, n_pairs=int(scored.sum()), one_sided=int((missing[0] ^ missing[1]).sum()))
    if not scored.any():
        return counts
    before, after = (by_problem(side[scored], problems[scored]) for side in (old, new))
    deltas = after - before
    shares = definition.share and np.isin(deltas, (-1, 0, 1)).all()
    low, high = stats.paired_interval(deltas, bool(shares or definition.percent), level)
    lowest, highest = None, None
    if counts.one_sided and definition.percent:
        lowest, highest = (_delta_if(old, new, problems, side) for side in (0.0, 1.0))
    return replace(
        counts,
        before=float(before.mean()),
        after=float(after.mean()),
        delta=float(deltas.mean()),
        low=low,
        high=high,
        p_value=stats.mcnemar_exact(int((deltas > 0).sum()), int((deltas < 0).sum()))
        if shares
        else stats.sign_flip(deltas),
        test=MCNEMAR if shares else "sign-flip permutation",
        problems=len(deltas),
        changed=int(np.count_nonzero(deltas)),
        lowest=lowest,
        highest=highest,
        spread=float(deltas.std(ddof=1)) if not shares and len(deltas) > 1 else None,
    )


def _delta_if(old: np.ndarray, new: np.ndarray, problems: np.ndarray, after: float) -> float:
    """The difference where what is scored on one side only is `after` on the other, or was the opposite of it."""
    scored = ~(np.isnan(old) & np.isnan(new))
    filled = np.where(np.isnan(new), after, new) - np.where(np.isnan(old), 1 - after, old)
    return float(by_problem(filled[scored], problems[scored]).mean())


def with_verdicts(
    families: Sequence[Mapping[str, Estimate]], primary: Collection[str], stopped: StoppedEarly | None = None
) -> list[dict[str, Difference]]:
    """The differences; the `primary` ones with a verdict by Holm's p-values over those that vary, in all families.

    With --stop-early the one primary metric has the p-value that allows for the looks.
    """
    tested = {
        (number, name): each.p_value
        for number, family in enumerate(families)
        for name, each in family.items()
        if name in primary and each.changed
    }
    p_values = list(tested.values())
    corrected = [sequential.corrected(each, stopped) for each in p_values] if stopped else stats.holm(p_values)
    p_adjusted = dict(zip(tested, corrected, strict=True))
    return [
        {
            name: each.with_verdict(p_adjusted.get((number, name), 1.0), len(tested), stopped)
            if name in primary
            else each.described()
            for name, each in family.items()
        }
        for number, family in enumerate(families)
    ]


def verdict_of(definition: MetricDefinition, delta: float, p_adjusted: float) -> str:
    """The verdict on a difference, by its p-value corrected for all tests."""
    if p_adjusted >= SIGNIFICANT:
        return NO_EVIDENCE
    sign = 1 if delta > 0 else -1
    if definition.better == 0:
        return "higher" if sign > 0 else "lower"
    return "better" if sign == definition.better else "worse"


def _note(difference: Estimate, p_adjusted: float, tests: int, stopped: StoppedEarly | None) -> str:
    """Where the interval and the test, or the test alone and as one of several, disagree."""
    p_value, low, high = difference.p_value, difference.low, difference.high
    if low is None:
        return ""
    leaves_0_out, rejects = low > 0 or high < 0, p_value < (stopped.level if stopped else SIGNIFICANT)
    corrected = f"{p_adjusted:.3f} after correcting for {f'{stopped.look} looks' if stopped else f'{tests} tests'}"
    if leaves_0_out != rejects:
        seen = "leaves 0 out, the test does not reject" if leaves_0_out else "includes 0, the test rejects"
        looked = f", {corrected}" if stopped else ""
        return f"the interval {seen} (p = {p_value:.3f}{looked}): the verdict follows the test"
    if p_value < SIGNIFICANT <= p_adjusted:
        return f"p = {p_value:.3f}, but {corrected}; the corrected value counts"
    return ""
