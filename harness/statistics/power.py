"""How many problems a difference takes, and the smallest that so many show, by the tests that give the verdicts.

As one of several `tests` a difference has to show at a significance that is divided by their number: Holm's procedure
asks for no less of the smallest p-value, and for less of the others, so the power is at least what is said.
"""

from math import ceil, sqrt

import numpy as np
from scipy import optimize, stats

from harness.statistics.stats import CONFIDENCE

POWER = 0.8
# Beyond these chances of a count nothing changes in a power that is shown in percent.
NEGLIGIBLE = 1e-9


def mcnemar_power(n: int, gained: float, lost: float, tests: int = 1) -> float:
    """The chance that the two-sided exact McNemar test rejects, where such shares of `n` problems change sides."""
    changed, level = gained + lost, (1 - CONFIDENCE) / 2 / tests
    if not changed:
        return 0.0
    counts = np.arange(stats.binom.ppf(NEGLIGIBLE, n, changed), stats.binom.isf(NEGLIGIBLE, n, changed) + 1)
    critical = stats.binom.ppf(level, counts, 0.5)
    critical -= stats.binom.cdf(critical, counts, 0.5) > level
    fewer, more = (stats.binom.cdf(critical, counts, share / changed) for share in (gained, lost))
    return float((stats.binom.pmf(counts, n, changed) * (fewer + more)).sum())


def detectable_difference(n: int, changed: float, power: float = POWER, tests: int = 1) -> float | None:
    """The smallest difference of paired shares that `n` problems show with `power`.

    `changed` is the share of problems whose result differs between the sides; None where even a difference as large
    as that would not show.
    """

    def excess(difference: float) -> float:
        return mcnemar_power(n, (changed + difference) / 2, (changed - difference) / 2, tests) - power

    return float(optimize.brentq(excess, 0.0, changed, xtol=1e-6)) if excess(changed) > 0 else None


def problems_needed(difference: float, changed: float, power: float = POWER, tests: int = 1) -> int | None:
    """How many problems show a `difference` of paired shares with `power`, None where it is 0.

    `changed` is the share of problems whose result differs between the sides; it is at least the difference.
    """
    difference = abs(difference)
    changed = max(changed, difference)
    if not difference:
        return None

    def shows(n: int) -> bool:
        return mcnemar_power(n, (changed + difference) / 2, (changed - difference) / 2, tests) >= power

    enough = 2
    while not shows(enough):
        enough *= 2
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if shows(middle) else (middle, enough)
    return enough


def detectable_mean(n: int, spread: float, power: float = POWER, tests: int = 1) -> float:
    """The smallest mean paired difference that `n` problems show with `power` (Miller 2024, arXiv:2411.00640, 5).

    `spread` is the standard deviation of the problems' differences; the test's distribution is taken as normal.
    """
    significance = stats.norm.ppf(1 - (1 - CONFIDENCE) / 2 / tests)
    return float((significance + stats.norm.ppf(power)) * spread / sqrt(n))


def needed_for_mean(difference: float, spread: float, power: float = POWER, tests: int = 1) -> int | None:
    """How many problems show a mean paired `difference` with `power` (Miller 2024, section 5), None where it is 0.

    `spread` is as in `detectable_mean`. There are at least two: one problem has no spread.
    """
    return max(ceil((detectable_mean(1, spread, power, tests) / difference) ** 2), 2) if difference else None
