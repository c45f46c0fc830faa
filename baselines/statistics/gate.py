"""How often the gate passes a loss as large as its tolerance: python -m baselines.statistics.gate

It prints the tables and writes them to gate.md next to this file, out of some 30 s of processor time.
"""

from pathlib import Path

import numpy as np
from scipy.stats import binom

from baselines.statistics.simulation import write_page
from harness.statistics import stats
from harness.statistics.gate import TOLERANCE

PAGE = Path(__file__).parent / "gate.md"
SIZES = (38, 72, 100, 300, 1319)
# The share of problems that become right while five points more become wrong.
GAINS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
REPLIES, REPEATED_SIZES, WHOLE = 4, (72, 100, 300), (0.05, 0.04, 0.03, 0.02, 0.01, 0.0)
SEED, SIMULATIONS = 20261125, 2000
TEXT = """# The gate: false passes

A metric has become worse by exactly the tolerance, {tolerance:.0f} points, and the gate says that it holds: nominally
in 2.5 % of the runs (one end of a 95 % interval). So many problems became right while so many and five points more
became wrong; exact, the sum of the trinomial distribution, for Tango's score interval, which is Clopper and Pearson's
bound where no pair differs.

| problems | {head} |
|---:|{rule}
{rows}

Problems of which none changed: {needed} show that the loss is under {tolerance:.0f} points, {less} do not.

Several replies a problem, {replies} each, {simulations} simulated runs a cell, seed {seed} (±{error:.1f} points, two
standard errors). Every reply was right; so many of the five points are lost by problems that lose all of their replies,
the rest by replies lost alone.

| problems | {wholes} |
|---:|{whole_rule}
{repeated}
"""


def passes(size: int, gained: float) -> float:
    """The exact chance that a loss as large as the tolerance passes, if a share of problems becomes right."""
    lost, counts = gained + TOLERANCE, np.arange(size + 1)
    down = counts[binom.pmf(counts, size, lost) > 1e-12][:, None]
    held = stats.paired_score(counts, down, size, np.array(-TOLERANCE)) > stats.QUANTILE
    held[down[:, 0] == 0, 0] = stats.unchanged_bound(size) < TOLERANCE
    chances = binom.pmf(down, size, lost) * binom.pmf(counts, size - down, gained / (1 - lost))
    return float(chances[held].sum())


def repeated_passes(size: int, whole: float, simulations: int = SIMULATIONS) -> float:
    """The share of simulated runs of several replies per problem in which a loss as large as the tolerance passes.

    `whole` is the share of problems that lose all of their replies.
    """
    draw = np.random.default_rng([SEED, size, round(1000 * whole)])
    single, passed = (TOLERANCE - whole) / (1 - whole), 0
    for _ in range(simulations):
        lost = np.where(draw.random(size) < whole, REPLIES, draw.binomial(REPLIES, single, size))
        passed += stats.paired_interval(-lost / REPLIES, bounded=True)[0] > -TOLERANCE
    return passed / simulations


def main() -> None:
    rows = [f"| {size:,} | " + " | ".join(f"{passes(size, each):.2%}" for each in GAINS) + " |" for size in SIZES]
    repeated = [
        f"| {size} | " + " | ".join(f"{repeated_passes(size, each):.1%}" for each in WHOLE) + " |"
        for size in REPEATED_SIZES
    ]
    needed = stats.unchanged_needed(TOLERANCE)
    write_page(
        PAGE,
        TEXT.format(
            tolerance=100 * TOLERANCE, head=" | ".join(f"{each:.1%} gained" for each in GAINS),
            rule="---:|" * len(GAINS), rows="\n".join(rows),
            needed=needed, less=needed - 1, replies=REPLIES, simulations=SIMULATIONS, seed=SEED,
            error=200 * (0.025 * 0.975 / SIMULATIONS) ** 0.5, repeated="\n".join(repeated),
            wholes=" | ".join(f"{100 * each:.0f} points" for each in WHOLE), whole_rule="---:|" * len(WHOLE),
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
