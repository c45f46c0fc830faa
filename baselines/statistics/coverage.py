"""How often the 95 % intervals of harness.statistics contain the true value: python -m baselines.statistics.coverage

It prints the table and writes it to coverage.md next to this file, out of some 130 s of processor time.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import beta as betafn
from scipy.stats import binom, multinomial

from baselines.statistics.simulation import write_page
from harness.statistics import stats

PAGE = Path(__file__).parent / "coverage.md"
SIZES = (20, 100, 300, 1319)
SHARES = tuple(percent / 100 for percent in range(5, 100, 5))
CHANGED, SPLITS = (0.1, 0.2, 0.3), (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)
REPLIES, IMPROVED = 4, 0.3
SEED, SIMULATIONS = 20261121, 2000
INTERVALS = ("wilson", "paired_share_interval", "share_interval", "pass@4 of 4", "pass@2 of 4", "paired_interval",
             "mean_interval")  # fmt: skip
TEXT = """# Coverage of the intervals

How often a 95 % interval of harness/statistics/stats.py holds the true value. The mean and the lowest are over the
true shares
0.05, 0.10, … 0.95, at n problems.

{table}

The means are held to 94 to 96 % from n = 100 on and to at least 93 % at n = 20 (tests/unit/test_stats.py).

- wilson: one reply a problem. Exact, the sum of the binomial distribution.
- paired_share_interval: 10, 20 or 30 % of the problems change sides, of which 10, 25, 40, 60, 75 or 90 % become right,
  where the share before allows it. Exact, the sum of the trinomial distribution; the lowest is over all of these.
- share_interval: {replies} replies a problem, beta-binomial with an intra-class correlation of 0.5.
- pass@4 and pass@2 of such replies: bounded_interval.
- paired_interval: the differences of such replies before and after, {replies} a problem, where {improved:.0f} % of the
  problems get a new chance to be right, halfway between the old share and 1 on average.
- mean_interval: the same differences, by Student's t, which is for what has no bounds.

All but the first two are {simulations} simulations a share, seed {seed}: a mean is good to ±{error:.1f} percentage
points, the lowest to ±{error_lowest:.1f} (two standard errors).
"""


def coverage(size: int, share: float, simulations: int = SIMULATIONS) -> dict[str, list[float]]:
    """The coverage of each interval at a true share, of the paired one for each way that scores change."""
    paired = [paired_coverage(size, up, down) for up, down in changes(share)]
    drawn = ([each] for each in simulated(size, share, simulations))
    return dict(zip(INTERVALS, ([wilson_coverage(size, share)], paired, *drawn), strict=True))


def wilson_coverage(size: int, share: float) -> float:
    hits = np.arange(size + 1)
    held = [_holds(stats.wilson(hit, size), share) for hit in hits]
    return float(binom.pmf(hits, size, share)[held].sum())


def changes(share: float) -> Iterator[tuple[float, float]]:
    """The shares of problems that become right and wrong: no more than are wrong and right before."""
    for changed, split in product(CHANGED, SPLITS):
        up, down = changed * split, changed * (1 - split)
        if up <= 1 - share and down <= share:
            yield up, down


def paired_coverage(size: int, up: float, down: float) -> float:
    cells = np.array(list(product(_likely(size, up), _likely(size, down))))
    cells = cells[cells.sum(axis=1) <= size]
    held = covers(*cells.T, size, up - down)
    return float(multinomial.pmf(np.c_[cells, size - cells.sum(axis=1)], size, (up, down, 1 - up - down))[held].sum())


def covers(gained: np.ndarray, lost: np.ndarray, size: float | np.ndarray, difference: float) -> np.ndarray:
    """Whether stats.paired_share_interval contains a difference: whether its score test does not reject it."""
    scored = np.abs(stats.paired_score(gained, lost, size, np.array(difference))) <= stats.QUANTILE
    return np.where(gained + lost > 0, scored, abs(difference) <= stats.unchanged_bound(size))


def _likely(size: int, share: float) -> range:
    """The counts that a binomial variable takes but for a chance of 10^-9."""
    return range(int(binom.ppf(5e-10, size, share)), int(binom.isf(5e-10, size, share)) + 1)


def simulated(size: int, share: float, simulations: int) -> list[float]:
    """The coverage of share_interval before, of pass@k then, and of the differences to after by both their intervals.

    A problem's chance to be right is a Beta variable whose parameters add up to 1: the intra-class correlation of
    its replies is 1 / (1 + 1).
    """
    draw = np.random.default_rng([SEED, size, round(100 * share)])
    problems, better = np.repeat(np.arange(size), REPLIES), (1 + share) / 2
    passing = {k: np.array([stats.pass_at_k(REPLIES, hits, k) for hits in range(REPLIES + 1)]) for k in (4, 2)}
    true_pass = {k: 1 - betafn(share, 1 - share + k) / betafn(share, 1 - share) for k in passing}
    held, shares = np.zeros(len(INTERVALS) - 3), []
    for _ in range(simulations):
        chance = draw.beta(share, 1 - share, size)
        improved = np.where(draw.random(size) < IMPROVED, draw.beta(better, 1 - better, size), chance)
        before, after = (draw.random(size * REPLIES) < each[problems] for each in (chance, improved))
        hits, now = (side.reshape(size, REPLIES).sum(axis=1) for side in (before, after))
        deltas = (now - hits) / REPLIES
        shares.append(stats.as_paired_shares(deltas))
        held += (
            _holds(stats.share_interval(before, problems), share),
            *(_holds(stats.bounded_interval(passing[k][hits]), true_pass[k]) for k in passing),
            _holds(stats.mean_interval(deltas, np.arange(size)), IMPROVED * (better - share)),
        )
    paired = covers(*np.array(shares).T, IMPROVED * (better - share)).mean()
    *of_shares, of_mean = (held / simulations).tolist()
    return [*of_shares, float(paired), of_mean]


def _holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


def summary(coverages: list[dict[str, list[float]]]) -> dict[str, tuple[float, float]]:
    """The mean coverage of each interval over the true shares, and the lowest."""
    return {
        interval: (
            float(np.mean([np.mean(each[interval]) for each in coverages])),
            min(min(each[interval]) for each in coverages),
        )
        for interval in INTERVALS
    }


def main() -> None:
    rows = ["| n | interval | mean | lowest |", "|---|---|---|---|"]
    with ProcessPoolExecutor() as pool:
        for size in SIZES:
            for interval, (mean, lowest) in summary(list(pool.map(partial(coverage, size), SHARES))).items():
                rows.append(f"| {size} | {interval} | {100 * mean:.1f} % | {100 * lowest:.1f} % |")
    error = 200 * (0.95 * 0.05 / SIMULATIONS) ** 0.5
    text = TEXT.format(
        table="\n".join(rows), replies=REPLIES, improved=100 * IMPROVED, simulations=SIMULATIONS, seed=SEED,
        error=error / len(SHARES) ** 0.5, error_lowest=error,
    )  # fmt: skip
    write_page(PAGE, text)


if __name__ == "__main__":
    main()
