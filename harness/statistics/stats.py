"""Intervals and tests, under their standard names."""

from collections.abc import Sequence
from math import ceil, log, log1p, prod, sqrt

import numpy as np
from scipy import stats

LEVEL = 0.05
CONFIDENCE = 1 - LEVEL
QUANTILE = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
RESAMPLES = 9999
SAMPLED_SIZES = 1000
MOST_PARTS = 64
BISECTIONS = 50


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, JASA 22:209)."""
    share, spread = successes / n, QUANTILE**2 / n
    center = (share + spread / 2) / (1 + spread)
    half = QUANTILE / (1 + spread) * sqrt(share * (1 - share) / n + spread / (4 * n))
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


def bounded_interval(values: np.ndarray) -> tuple[float, float]:
    """Wilson's interval of a mean of values from 0 to 1, a value a problem.

    It is at the number of 0s and 1s of the same variance (Kish 1965), which is n where all are, taken as if one value
    more were at the other end: near 0 and 1 Student's t is far too sure (baselines/statistics/coverage.md).
    """
    n, mean = len(values), float(values.mean())
    times = (n * mean * (1 - mean) + 1) / (n * float(values.var()) + 1)
    return wilson(mean * n * times, n * times)


def mean_interval(values: Sequence[float], clusters: Sequence[str], level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of a mean, its standard error clustered (Miller 2024, arXiv:2411.00640, eq. 4).

    `clusters` names the problem of each value: replies to one problem are not independent.
    """
    values = np.asarray(values, dtype=float)
    mean, error, groups = values.mean(), clustered_error(values, clusters), len(set(clusters))
    half = stats.t.isf(level / 2, groups - 1) * error if groups > 1 else float("inf")
    return mean - half, mean + half


def clustered_error(values: np.ndarray, clusters: Sequence[str]) -> float:
    """Standard error of the mean of `values` that are independent between clusters only, with the G/(G-1) factor."""
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(group, weights=values - values.mean())
    groups = len(sums)
    return float(sqrt((sums**2).sum() * groups / max(groups - 1, 1)) / len(values))


def paired_share_interval(gained: float, lost: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of a difference of paired shares (Tango 1998, Statistics in Medicine 17:891).

    Where no pair differs it is the exact bound on the share of pairs that do (Clopper and Pearson 1934, Biometrika
    26:404). How often its ends are wrong is in baselines/statistics/gate.md.
    """
    if not gained + lost:
        return -unchanged_bound(n, level), unchanged_bound(n, level)
    ends = np.array([-1.0, (gained - lost) / n]), np.array([(gained - lost) / n, 1.0])
    targets = np.array([1, -1]) * stats.norm.isf(level / 2)
    for _ in range(BISECTIONS):
        middle = (ends[0] + ends[1]) / 2
        above = paired_score(gained, lost, n, middle) > targets
        ends = np.where(above, middle, ends[0]), np.where(above, ends[1], middle)
    low, high = (ends[0] + ends[1]) / 2
    return float(low), float(high)


def paired_score(gained: float, lost: float, n: float, difference: np.ndarray) -> np.ndarray:
    """Tango's statistic, which falls as the supposed difference rises; the nuisance share is the most likely one."""
    linear = (gained + lost) * (1 + difference) - 2 * (lost + n) * difference
    root = np.sqrt(np.maximum(linear**2 + 8 * n * lost * difference * (1 - difference), 0.0))
    down = np.maximum((linear + root) / (4 * n), np.maximum(0.0, -difference))
    variance = n * (2 * down + difference - difference**2)
    return (gained - lost - n * difference) / np.sqrt(np.maximum(variance, 1e-300))


def unchanged_bound(n: float, level: float = LEVEL) -> float:
    """The largest share of pairs that may differ where none of `n` does."""
    return 1 - (level / 2) ** (1 / n)


def unchanged_needed(bound: float) -> int | None:
    """How many pairs of which none differs show that a smaller share than `bound` does; None where it is 0."""
    return ceil(log((1 - CONFIDENCE) / 2) / log1p(-bound)) if 0 < bound < 1 else None


def paired_interval(deltas: np.ndarray, bounded: bool, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Interval of a mean paired difference, a value a problem; an end that cannot be told is None.

    It leaves the true difference out in a share `level` of all cases.

    `bounded`: no value is beyond -1 and 1. Then it is that of shares, at the number of pairs whose difference would
    have the variance of the values (Kish 1965), which is n where each is -1, 0 or 1; that variance is taken as if one
    problem more differed by 1, as few values show no rare large ones. Else it is Student's t; values that are all the
    same show no spread there, which is no proof that there is none.
    """
    if not bounded:
        return (
            mean_interval(deltas, np.arange(len(deltas)), level) if len(deltas) > 1 and deltas.std() else (None, None)
        )
    return paired_share_interval(*as_paired_shares(deltas), level)


def as_paired_shares(deltas: np.ndarray) -> tuple[float, float, float]:
    """As many gained, lost and all pairs, of shares, as say the same as differences from -1 to 1."""
    up, down, of_mean = deltas.clip(min=0).sum(), -deltas.clip(max=0).sum(), deltas.sum() ** 2 / len(deltas)
    times = (up + down + 1 - of_mean) / ((deltas**2).sum() + 1 - of_mean)
    return float(up * times), float(down * times), float(len(deltas) * times)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test on the discordant pairs (McNemar 1947, Psychometrika 12:153)."""
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided permutation test of a mean paired difference by sign flips (Fisher 1935, The Design of Experiments).

    Of m differences of one size a Binomial(m, 1/2) keeps its sign. The sums that this gives are enumerated with their
    probabilities where they are at most 9999, or multiples of a common part, as those of several replies a problem are;
    else 9999 are sampled, with the observed one counted among them (Phipson and Smyth 2010, SAGMB 9:39).
    """
    # What is smaller is left by the arithmetic of equal scores.
    differences = np.asarray(differences, dtype=float).round(12)
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if parts := _parts(sizes, counts):
        chances = _chances_of_parts(sizes, counts, parts)
        beyond = round(abs(differences.sum()) * parts)
        middle = len(chances) // 2
        return min(float(chances[: middle - beyond + 1].sum() + chances[middle + max(beyond, 1) :].sum()), 1.0)
    least = abs(differences.sum()) - 1e-12 * (sizes @ counts)
    if prod(map(float, counts + 1)) <= RESAMPLES:
        sums, chances = _flipped_sums(sizes, counts)
        return float(min(chances[np.abs(sums) >= least].sum(), 1.0))
    extreme = (np.abs(_random_sums(sizes, counts, np.random.default_rng(seed))) >= least).sum()
    return float((extreme + 1) / (RESAMPLES + 1))


def _parts(sizes: np.ndarray, counts: np.ndarray) -> int | None:
    """Into how many parts 1 is divided so that every size is some of them, and all together are few; else None."""
    for parts in range(1, MOST_PARTS + 1):
        steps = sizes * parts
        if steps @ counts > RESAMPLES:
            return None
        if np.abs(steps - steps.round()).max(initial=0) < 1e-6 and steps.min(initial=1) > 0.5:
            return parts
    return None


def _chances_of_parts(sizes: np.ndarray, counts: np.ndarray, parts: int) -> np.ndarray:
    """The probability of every sum of sign-flipped differences, from the least to the largest, a part apart."""
    chances = np.ones(1)
    for step, count in zip((sizes * parts).round().astype(int), counts, strict=True):
        sums = np.zeros(2 * step * count + 1)
        sums[:: 2 * step] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, sums)
    return chances


def _flipped_sums(sizes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every sum of sign-flipped differences, `counts` of each of `sizes`, and its probability."""
    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        kept = np.arange(count + 1)
        sums = np.add.outer(sums, size * (2 * kept - count)).ravel()
        chances = np.outer(chances, stats.binom.pmf(kept, count, 0.5)).ravel()
    return sums, chances


def _random_sums(sizes: np.ndarray, counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random sums of sign-flipped differences, `counts` of each of `sizes`, which ascend.

    Where there are more than 1000 sizes the smaller ones are one normal variable of their variance, the limit of such
    a sum (Hoeffding 1952, Annals of Mathematical Statistics 23:169); the largest, which could spoil it, are sampled.
    """
    small = slice(max(len(sizes) - SAMPLED_SIZES, 0))
    sums = generator.normal(0.0, sqrt(counts[small] @ sizes[small] ** 2), RESAMPLES)
    for size, count in zip(sizes[small.stop :], counts[small.stop :], strict=True):
        sums += size * (2 * generator.binomial(count, 0.5, RESAMPLES) - count)
    return sums


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979, Scandinavian Journal of Statistics 6:65), in the order given."""
    order = np.argsort(p_values)
    adjusted, worst = [0.0] * len(order), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def pass_at_k(n: int, right: int, k: int) -> float:
    """The probability that one of k replies is right, unbiased, of a problem with `right` of `n` replies right.

    1 - C(n - right, k) / C(n, k) as a product (Chen et al. 2021, arXiv:2107.03374, eq. 1 and figure 3).
    """
    if k > n:
        raise ValueError(f"pass@{k} needs {k} replies to a problem, not {n}")
    return 1.0 - prod(1 - k / drawn for drawn in range(n - right + 1, n + 1)) if k <= n - right else 1.0


def fisher_exact(successes: tuple[int, int], n: tuple[int, int]) -> float:
    """Two-sided exact test of two unpaired shares (Fisher 1935, The Design of Experiments)."""
    table = [[each, size - each] for each, size in zip(successes, n, strict=True)]
    return float(stats.fisher_exact(table).pvalue)
