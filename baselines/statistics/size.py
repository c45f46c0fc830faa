"""How often a verdict is given although nothing has changed: python -m baselines.statistics.size

It prints the table and writes it to size.md next to this file, out of some 60 s of processor time.
"""

from pathlib import Path

import numpy as np

from baselines.statistics.simulation import drawn, verdicts, write_page
from harness.statistics.differences import PRIMARY
from harness.types import DESCRIBED, NO_EVIDENCE

PAGE = Path(__file__).parent / "size.md"
SIZES = (20, 100, 300, 1319)
# Mean chances of a correct answer and of the format.
SIDES = ((0.7, 0.5), (0.4, 0.95), (0.05, 0.99))
CONSTANT = tuple(f"reward/{name}" for name in ("a", "b", "c", "d"))
SEED, SIMULATIONS = 20261125, 1000
TEXT = """# Size: verdicts where nothing has changed

Both sides are drawn from the same chances: a problem's chances of a correct answer and of the required format are Beta
variables whose parameters add up to 1, with the means given; {simulations} simulated runs a row, seed {seed}. Beside
the primary metrics each run has four rewards that never vary. A false verdict is any "better" or "worse" in a run: at
most 5 % are allowed.

| problems | correct | in the format | runs with a false verdict | p of accuracy_flexible changed by the rewards |
|---:|---:|---:|---:|---:|
{rows}

A rate is good to ±{error:.1f} percentage points (two standard errors). McNemar's exact test is conservative where few
pairs differ, which is why the rates lie below 5 %.
"""


def false_verdicts(size: int, right: float, layout: float, simulations: int = SIMULATIONS) -> tuple[float, int]:
    """The share of runs with a verdict, and in how many the constant rewards changed the adjusted p of accuracy."""
    draw = np.random.default_rng([SEED, size, round(100 * right)])
    constant = {name: np.zeros(size) for name in CONSTANT}
    false = moved = 0
    for _ in range(simulations):
        chances = draw.beta(right, 1 - right, size), draw.beta(layout, 1 - layout, size)
        old, new = drawn(draw, *chances), drawn(draw, *chances)
        found = verdicts(old | constant, new | constant, PRIMARY)
        false += any(each.verdict not in (NO_EVIDENCE, DESCRIBED) for each in found.values())
        alone = verdicts(old, new, PRIMARY)["accuracy_flexible"]
        moved += alone.p_adjusted != found["accuracy_flexible"].p_adjusted
    return false / simulations, moved


def main() -> None:
    rows = []
    for size in SIZES:
        for right, layout in SIDES:
            rate, moved = false_verdicts(size, right, layout)
            rows.append(f"| {size:,} | {right:.0%} | {layout:.0%} | {100 * rate:.1f} % | {moved} |")
    error = 200 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    write_page(PAGE, TEXT.format(rows="\n".join(rows), simulations=SIMULATIONS, seed=SEED, error=error))


if __name__ == "__main__":
    main()
