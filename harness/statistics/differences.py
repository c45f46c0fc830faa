"""What two sides differ by, metric by metric: interval, test, and a verdict on the few that the run is about.

The primary family is stated before any reply is read: correct answers (accuracy_flexible), the required format
(format_strict), both at once (accuracy_strict), and language_ratio where another language than English is asked for.
Holm adjusts the p-values of those that vary at all; every other metric is described, with an interval and no verdict.
A metric whose pairs never differ cannot be rejected whatever its level, so leaving it out costs no error (Tarone 1990,
Biometrics 46:515). A run may name one primary metric instead, which is then alone; with --stop-early its interval and
its p-value are those that allow for the looks (harness/statistics/sequential.py).
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from harness.statistics import power, sequential, stats
from harness.statistics.pairs import by_problem
from harness.types import (
    ANSWERED_BY,
    DESCRIBED,
    FLIPS_BY,
    NO_EVIDENCE,
    NOT_COMPARED,
    Difference,
    MetricDefinition,
    StoppedEarly,
)

SIGNIFICANT = stats.LEVEL
PRIMARY = (ANSWERED_BY, "format_strict", FLIPS_BY)
LANGUAGE = "language_ratio"
USUAL_LANGUAGES = (None, "en")


def primary_metrics(language: str | None) -> tuple[str, ...]:
    """The metrics that get a verdict, where `language` is the target language of the reasoning."""
    return PRIMARY if language in USUAL_LANGUAGES else (*PRIMARY, LANGUAGE)


def judge(values: Mapping[str, tuple[MetricDefinition, np.ndarray, np.ndarray]]) -> dict[str, Difference]:
    """The differences of metrics that all get a verdict: its definition and both sides' values, a pair a problem."""
    family = {name: measured(kind, old, new, np.arange(len(old))) for name, (kind, old, new) in values.items()}
    return adjusted([family], family)[0]


def measured(
    kind: MetricDefinition, old: np.ndarray, new: np.ndarray, problems: np.ndarray, level: float = SIGNIFICANT
) -> dict:
    """One metric over the pairs that are scored on both sides, each problem counting once; not yet adjusted.

    The interval is the one that holds all differences which are not significant at the level.
    """
    missing = np.isnan(old), np.isnan(new)
    scored = ~missing[0] & ~missing[1]
    result = {
        "before": None, "after": None, "delta": None, "low": None, "high": None, "p_value": None, "test": None,
        "n_pairs": int(scored.sum()), "one_sided": int((missing[0] ^ missing[1]).sum()), "kind": kind,
    }  # fmt: skip
    if not scored.any():
        return result
    before, after = (by_problem(side[scored], problems[scored]) for side in (old, new))
    deltas = after - before
    if kind.share and np.isin(deltas, (-1, 0, 1)).all():
        judged = _judged_by_shares(deltas, level)
    else:
        judged = _judged_by_means(deltas, kind.percent, level)
    if result["one_sided"] and kind.percent:
        judged["lowest"], judged["highest"] = (_at_the_most(old, new, problems, side) for side in (0.0, 1.0))
    means = {"before": float(before.mean()), "after": float(after.mean()), "delta": float(deltas.mean())}
    return result | means | judged | {"problems": len(deltas), "changed": int(np.count_nonzero(deltas))}


def _at_the_most(old: np.ndarray, new: np.ndarray, problems: np.ndarray, after: float) -> float:
    """The difference where what is scored on one side only is `after` on the other, or was the opposite of it."""
    known = ~(np.isnan(old) & np.isnan(new))
    filled = np.where(np.isnan(new), after, new) - np.where(np.isnan(old), 1 - after, old)
    return float(by_problem(filled[known], problems[known]).mean())


def _judged_by_shares(deltas: np.ndarray, level: float) -> dict:
    """A value a problem, each -1, 0 or 1."""
    n, gained, lost = len(deltas), int((deltas > 0).sum()), int((deltas < 0).sum())
    low, high = stats.paired_interval(deltas, True, level)
    return {
        "low": low, "high": high, "test": "exact McNemar", "p_value": stats.mcnemar_exact(gained, lost),
        "power": lambda tests: _power_of_shares(n, gained, lost, tests),
    }  # fmt: skip


def _judged_by_means(deltas: np.ndarray, bounded: bool, level: float) -> dict:
    """A number a problem: of several replies, or of a metric that counts; `bounded`: from -1 to 1."""
    n, spread = len(deltas), float(deltas.std(ddof=1)) if len(deltas) > 1 else 0.0
    low, high = stats.paired_interval(deltas, bounded, level)
    return {
        "low": low, "high": high, "test": "sign-flip permutation", "p_value": stats.sign_flip(deltas),
        "power": lambda tests: _power_of_means(n, float(deltas.mean()), spread, tests),
    }  # fmt: skip


def _power_of_shares(n: int, gained: int, lost: int, tests: int) -> dict:
    changed = (gained + lost) / n
    detectable = power.detectable_difference(n, changed, tests=tests) if changed else None
    return {"detectable": detectable, "needed": power.problems_needed((gained - lost) / n, changed, tests=tests)}


def _power_of_means(n: int, delta: float, spread: float, tests: int) -> dict:
    if not spread:
        return {}
    needed = power.needed_for_mean(delta, spread, tests=tests)
    return {"detectable": power.detectable_mean(n, spread, tests=tests), "needed": needed}


def adjusted(
    families: Sequence[dict[str, dict]], primary: Collection[str], stopped: StoppedEarly | None = None
) -> list[dict[str, Difference]]:
    """The differences; the `primary` ones with a verdict by Holm's p-values over those that vary, in all families.

    Of a comparison that looked early the one primary metric has the p-value that allows for the looks.
    """
    tested = [family[name] for family in families for name in family if name in primary and family[name].get("changed")]
    known = [each["p_value"] for each in tested]
    allowed = [sequential.corrected(each, stopped) for each in known] if stopped else stats.holm(known)
    p_values = {id(each): p for each, p in zip(tested, allowed, strict=True)}
    return [
        {
            name: _judged(each, p_values.get(id(each), 1.0), len(tested), stopped)
            if name in primary
            else _described(each)
            for name, each in family.items()
        }
        for family in families
    ]


def _described(difference: dict) -> Difference:
    verdict = NOT_COMPARED if difference["p_value"] is None else DESCRIBED
    return Difference(**_known(difference), p_adjusted=None, verdict=verdict)


def _judged(difference: dict, p_adjusted: float, tests: int, stopped: StoppedEarly | None) -> Difference:
    if difference["p_value"] is None:
        return _described(difference)
    sizes = difference["power"](max(tests, 1))
    verdict = verdict_of(difference["kind"], difference["delta"], p_adjusted)
    note = _note(difference, p_adjusted, tests, stopped)
    return Difference(**_known(difference), **sizes, p_adjusted=p_adjusted, verdict=verdict, note=note)


def _known(difference: dict) -> dict:
    return {key: value for key, value in difference.items() if key not in ("power", "kind")}


def verdict_of(kind: MetricDefinition, delta: float, p_adjusted: float) -> str:
    """What a difference of a metric is called, by its p-value among all that are tested."""
    if p_adjusted >= SIGNIFICANT:
        return NO_EVIDENCE
    sign = 1 if delta > 0 else -1
    if kind.better == 0:
        return "higher" if sign > 0 else "lower"
    return "better" if sign == kind.better else "worse"


def _note(difference: dict, p_adjusted: float, tests: int, stopped: StoppedEarly | None) -> str:
    """Where the interval and the test, or the test alone and among all, say different things."""
    p_value, low, high = difference["p_value"], difference["low"], difference["high"]
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
