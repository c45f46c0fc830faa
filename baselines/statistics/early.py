"""What --stop-early costs and saves: python -m baselines.statistics.early

It prints the tables and writes them to early.md next to this file, out of some 20 s of processor time.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import bdtr
from scipy.stats import norm

from baselines.statistics.simulation import write_page
from harness.statistics import sequential, stats

PAGE = Path(__file__).parent / "early.md"
SIZES, UNCHANGED = (100, 300, 1319), (0.1, 0.4, 0.7)
# Problems, and the mean chance of a correct answer before and after.
GAINS = ((300, 0.2, 0.56), (300, 0.4, 0.5), (300, 0.4, 0.6), (1319, 0.4, 0.43), (1319, 0.4, 0.45), (1319, 0.4, 0.5),
         (1319, 0.7, 0.75))  # fmt: skip
SEED, SIMULATIONS = 20261128, 20_000
TEXT = """# Stopping early: size, power, and replies saved

Problems come in a random order; at every tenth of them the exact McNemar test of accuracy_flexible is compared with
O'Brien-Fleming limits (Lan and DeMets), and the run stops where it crosses. "Fixed" is the same test once, at the end,
at 5 %. Replies are drawn: a problem's chance of a correct answer is a Beta variable whose parameters add up to 1, with
the mean given; both sides' replies come from the chances of the same problem, so they are correlated.

Where nothing has changed. A false verdict is any "better" or "worse": at most 5 % are allowed.

| problems | correct | false verdicts | fixed | problems asked | interval holds 0 |
|---:|---:|---:|---:|---:|---:|
{sizes}

Where the chances have risen. The interval is the repeated one, of the look where the run stopped; "seen" is the mean
difference there.

| problems | correct | points | power | fixed | problems asked | interval holds the truth | seen |
|---:|---:|---:|---:|---:|---:|---:|---:|
{gains}

{simulations:,} simulated runs a row, seed {seed}: a rate is good to ±{small:.1f} percentage points where it is 5 %, to
±{large:.1f} where it is 50 % (two standard errors). The power is within 2 points of
the fixed design's where that is 80 % and more, and nearly so elsewhere. A difference that stops a run is too large on
average; the repeated interval is wide and holds the truth nonetheless.
"""


@dataclass(frozen=True)
class Found:
    """Over all simulated runs: shares with a verdict, in the right direction, of the looks and of the fixed design; how
    many problems were asked; how often the interval contained the true difference; the mean difference seen."""

    verdicts: float
    fixed: float
    asked: float
    held: float
    seen: float


def simulate(problems: int, before: float, after: float, simulations: int = SIMULATIONS) -> Found:
    """Runs whose sides have these mean chances; without a difference a verdict in either direction counts."""
    draw = np.random.default_rng([SEED, problems, round(100 * before), round(100 * after)])
    gained, lost = _counts(draw, problems, before, after, simulations)
    ends, levels = np.array(sequential.looks_at(problems)), np.array(sequential.levels(problems))
    crossed = p_values(gained, lost) < levels
    at = np.where(crossed.any(axis=1), crossed.argmax(axis=1), len(ends) - 1)
    rows = np.arange(simulations)
    up, down, asked = gained[rows, at], lost[rows, at], ends[at]
    right = (gained >= lost) if after > before else np.ones_like(crossed)
    return Found(
        verdicts=float((crossed & right)[rows, at].mean()),
        fixed=float(((p_values(gained[:, -1], lost[:, -1]) < stats.LEVEL) & right[:, -1]).mean()),
        asked=float(asked.mean()),
        held=float(_holds(up, down, asked, levels[at], after - before).mean()),
        seen=float(((up - down) / asked).mean()),
    )


def p_values(gained: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """As stats.mcnemar_exact, of many at once."""
    changed = gained + lost
    return np.where(changed > 0, np.minimum(2 * bdtr(np.minimum(gained, lost), changed, 0.5), 1.0), 1.0)


def _counts(
    draw: np.random.Generator, problems: int, before: float, after: float, simulations: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many answers became right and wrong up to each look, one row per run."""
    ends = np.array(sequential.looks_at(problems)) - 1
    counts = [], []
    for _ in range(simulations):
        chance = draw.beta(before, 1 - before, problems)
        risen = 1 - (1 - chance) * (1 - after) / (1 - before)
        old, new = draw.random(problems) < chance, draw.random(problems) < risen
        for kept, changed in zip(counts, (new & ~old, old & ~new), strict=True):
            kept.append(changed.cumsum()[ends])
    return np.array(counts[0]), np.array(counts[1])


def _holds(
    gained: np.ndarray, lost: np.ndarray, problems: np.ndarray, levels: np.ndarray, difference: float
) -> np.ndarray:
    """Whether stats.paired_share_interval at each run's level contains a difference: its score test accepts it."""
    scored = np.abs(stats.paired_score(gained, lost, problems, np.array(difference))) <= norm.isf(levels / 2)
    return np.where(gained + lost > 0, scored, abs(difference) <= stats.unchanged_bound(problems, levels))


def main() -> None:
    sizes, gains = [], []
    for problems in SIZES:
        for share in UNCHANGED:
            found = simulate(problems, share, share)
            shown = f"{100 * found.verdicts:.1f} % | {100 * found.fixed:.1f} % | {found.asked:,.0f}"
            sizes.append(f"| {problems:,} | {share:.0%} | {shown} | {100 * found.held:.1f} % |")
    for problems, before, after in GAINS:
        found = simulate(problems, before, after)
        shown = f"{100 * found.verdicts:.1f} % | {100 * found.fixed:.1f} % | {found.asked:,.0f}"
        points = f"{before:.0%} to {after:.0%} | {100 * (after - before):+.0f}"
        gains.append(f"| {problems:,} | {points} | {shown} | {100 * found.held:.1f} % | {100 * found.seen:+.1f} |")
    text = TEXT.format(
        sizes="\n".join(sizes), gains="\n".join(gains), simulations=SIMULATIONS, seed=SEED,
        small=200 * (0.05 * 0.95 / SIMULATIONS) ** 0.5, large=200 * (0.25 / SIMULATIONS) ** 0.5,
    )  # fmt: skip
    write_page(PAGE, text)


if __name__ == "__main__":
    main()
