"""Intervals and tests, under their standard names."""

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
RESAMPLES = 9999


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, JASA 22:209)."""
    z = stats.norm.ppf((1 + CONFIDENCE) / 2)
    share, spread = successes / n, z * z / n
    center = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, center - half), min(1.0, center + half)


def share_interval(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float]:
    """Wilson's interval of a share of 0s and 1s, at the effective sample size where clusters have several of them.

    The effective size is n over the design effect (Kish 1965), between the number of clusters and n; with one
    value a cluster it is n.
    """
    values = np.asarray(values, dtype=float)
    share, groups = float(values.mean()), len(set(clusters))
    error = clustered_error(values, clusters)
    size = share * (1 - share) / error**2 if error and groups < len(values) else float(groups)
    size = min(max(size, groups), len(values))
    return wilson(share * size, size)


def mean_interval(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float]:
    """Student's t interval of a mean, its standard error clustered (Miller 2024, arXiv:2411.00640, eq. 4).

    `clusters` names the problem of each value: replies to one problem are not independent.
    """
    values = np.asarray(values, dtype=float)
    mean, error, groups = values.mean(), clustered_error(values, clusters), len(set(clusters))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1) * error if groups > 1 else float("inf")
    return mean - half, mean + half


def clustered_error(values: np.ndarray, clusters: Sequence[str]) -> float:
    """Standard error of the mean of `values` that are independent between clusters only, with the G/(G-1) factor."""
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(group, weights=values - values.mean())
    groups = len(sums)
    return float(sqrt((sums**2).sum() * groups / max(groups - 1, 1)) / len(values))


def paired_share_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Interval of a difference of paired shares: Wald's with half a pair added to each cell.

    Agresti and Min 2005 (Statistics in Medicine 24:729); unlike Wald's own it keeps a width where no pair differs.
    """
    z, total = stats.norm.ppf((1 + CONFIDENCE) / 2), n + 2
    up, down = (gained + 0.5) / total, (lost + 0.5) / total
    half = z * sqrt((up + down - (up - down) ** 2) / total)
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test on the discordant pairs (McNemar 1947, Psychometrika 12:153)."""
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided permutation test of a mean paired difference by random sign flips (Fisher 1935)."""
    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES,
        vectorized=True, axis=0, rng=np.random.default_rng(seed), batch=500,
    )  # fmt: skip
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979, Scandinavian Journal of Statistics 6:65), in the order given."""
    order = np.argsort(p_values)
    adjusted, worst = [0.0] * len(order), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def detectable_difference(n: int, changed: float, power: float = 0.8) -> float | None:
    """The smallest difference of paired shares that `n` problems show with `power` (Connor 1987, Biometrics 43:207).

    `changed` is the share of problems whose result differs between the sides; None where even a difference as
    large as that would not show.
    """
    significance, strength = stats.norm.ppf((1 + CONFIDENCE) / 2), stats.norm.ppf(power)

    def excess(difference: float) -> float:
        needed = significance * sqrt(changed) + strength * sqrt(changed - difference**2)
        return difference * sqrt(n) - needed

    largest = min(changed, sqrt(changed))
    return float(optimize.brentq(excess, 0.0, largest)) if excess(largest) > 0 else None


def problems_needed(difference: float, changed: float, power: float = 0.8) -> int | None:
    """How many problems show a `difference` of paired shares with `power` (Connor 1987), None where it is 0.

    `changed` is the share of problems whose result differs between the sides; it is at least the difference.
    """
    difference = abs(difference)
    changed = max(changed, difference)
    if not difference:
        return None
    significance, strength = stats.norm.ppf((1 + CONFIDENCE) / 2), stats.norm.ppf(power)
    root = significance * sqrt(changed) + strength * sqrt(changed - difference**2)
    return ceil((root / difference) ** 2)


def fisher_exact(successes: tuple[int, int], n: tuple[int, int]) -> float:
    """Two-sided exact test of two unpaired shares (Fisher 1935, The Design of Experiments)."""
    table = [[each, size - each] for each, size in zip(successes, n, strict=True)]
    return float(stats.fisher_exact(table).pvalue)
