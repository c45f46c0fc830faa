"""Whether a run of the planned size gives the verdict: python -m baselines.statistics.power

It prints the table and writes it to power.md next to this file, out of some 20 s of processor time.
"""

from pathlib import Path

import numpy as np

from baselines.statistics.simulation import write_page
from harness.statistics import stats
from harness.statistics.differences import PRIMARY, SIGNIFICANT
from harness.statistics.power import problems_needed

PAGE = Path(__file__).parent / "power.md"
CHANGED, CORRECT, LAYOUT = 0.3, 0.6, 0.5
# The gain in correct answers, and the shares of problems whose format becomes correct and wrong.
CASES = ((0.05, (0.0, 0.0)), (0.05, (0.1, 0.1)), (0.05, (0.4, 0.02)), (0.1, (0.0, 0.0)), (0.1, (0.1, 0.1)),
         (0.1, (0.4, 0.02)))  # fmt: skip
SEED, SIMULATIONS = 20261125, 2000
TEXT = """# Power: does a run of the planned size give the verdict?

`harness plan --detect` says how many problems a gain in correct answers takes where {changed:.0f} % of the answers
change, with 80 % power. The power found is that of the verdict itself: the exact McNemar test of accuracy_flexible,
adjusted by Holm over accuracy_flexible, format_strict and accuracy_strict, where so much of the layout changes too.
{correct:.0f} % of the answers are correct and {layout:.0f} % of the replies in the required format before.

| gain | layout gained, lost | problems by plan | power of the verdict |
|---:|---:|---:|---:|
{rows}

{simulations} simulated runs a row, seed {seed}: a power is good to ±{error:.1f} percentage points (two standard
errors). What is planned holds whatever the other metrics do, so it is on the safe side where they change much.
"""


def planned_power(difference: float, moves: tuple[float, float], simulations: int = SIMULATIONS) -> tuple[int, float]:
    """The planned size for a gain in correct answers, and in what share of simulated runs the verdict is better."""
    n = problems_needed(difference, CHANGED, tests=len(PRIMARY))
    draw = np.random.default_rng([SEED, round(1000 * difference), *(round(100 * each) for each in moves)])
    gains = (CHANGED + difference) / 2, (CHANGED - difference) / 2
    better = 0
    for _ in range(simulations):
        (correct, correct_now), (laid_out, laid_out_now) = (
            _sides(draw, n, CORRECT, gains),
            _sides(draw, n, LAYOUT, moves),
        )
        pairs = (correct, correct_now), (laid_out, laid_out_now), (correct & laid_out, correct_now & laid_out_now)
        counts = [(int((new & ~old).sum()), int((old & ~new).sum())) for old, new in pairs]
        tested = [stats.mcnemar_exact(*each) for each in counts if any(each)]
        better += stats.holm(tested)[0] < SIGNIFICANT and counts[0][0] > counts[0][1]
    return n, better / simulations


def _sides(
    draw: np.random.Generator, n: int, share: float, moves: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Values before and after, of which these shares of all problems are gained and lost."""
    before, chance = draw.random(n) < share, draw.random(n)
    return before, np.where(before, chance >= moves[1] / share, chance < moves[0] / (1 - share))


def main() -> None:
    rows = []
    for difference, moves in CASES:
        n, found = planned_power(difference, moves)
        shown = f"{100 * difference:.0f} pp | {moves[0]:.0%}, {moves[1]:.0%} | {n:,} | {100 * found:.1f} %"
        rows.append(f"| {shown} |")
    write_page(
        PAGE,
        TEXT.format(
            changed=100 * CHANGED, correct=100 * CORRECT, layout=100 * LAYOUT, rows="\n".join(rows),
            simulations=SIMULATIONS, seed=SEED, error=200 * (0.16 / SIMULATIONS) ** 0.5,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
