"""How often the warning of a reward without accuracy is given: python -m baselines.statistics.health

It prints the tables and writes them to health.md next to this file, out of some 60 s of processor time.
"""

from pathlib import Path

import numpy as np

from baselines.statistics.simulation import write_page
from train.health import FALSE_ALARMS, LEAST_PROBED, fall

PAGE = Path(__file__).parent / "health.md"
SIZES, PROBES = (16, 32, 64, 128), (5, 9)
# Mean chances of a correct answer before the training and after it.
SAME, BETTER = ((0.7, 0.7), (0.3, 0.3), (0.9, 0.9)), ((0.66, 0.74), (0.3, 0.5))
HACKED = ((0.7, 0.2), (0.7, 0.35), (0.5, 0.1))
SEED, SIMULATIONS = 20261125, 400
TEXT = """# Health: a reward that rises while correct answers fall

A training is probed on held-out problems before it, every `eval_every` steps and at its end, one reply a problem
and probe. Some reward rises in each of these simulated runs, so what is counted is the test of the correct answers
alone, at every probe as it comes: a run counts if any of them warns. A problem's chance of a correct answer is a Beta
variable whose parameters add up to 2; its mean goes evenly from the first to the last share.
{simulations} runs a cell, seed
{seed}.

| correct answers | probes | {head} |
|---|---:|{rule}
{rows}

A rate is good to ±{error:.1f} percentage points where it is 5 %, to ±{half:.1f} where it is 50 % (two standard errors).
Where nothing changes, a warning may come in 5 % of the runs; under {least} problems none ever does. 32 are what the
recipes hold out.
"""


def warned(problems: int, probes: int, first: float, last: float, simulations: int = SIMULATIONS) -> float:
    """The share of simulated runs in which the warning says that correct answers fall, at any probe."""
    draw = np.random.default_rng([SEED, problems, probes, round(100 * first), round(100 * last)])
    level, count = FALSE_ALARMS / (probes - 1), 0
    for _ in range(simulations):
        easy = draw.beta(2 * first, 2 * (1 - first), problems)
        # Chances move together, and none leaves 0 to 1: a problem keeps its place among the others.
        shares = np.linspace(first, last, probes)[:, None]
        moved = np.where(shares <= first, easy * shares / first, 1 - (1 - easy) * (1 - shares) / (1 - first))
        results = (draw.random((probes, problems)) < moved).astype(float)
        found = (fall(results[:seen]) for seen in range(2, probes + 1))
        count += any(each is not None and each.p_value <= level for each in found)
    return count / simulations


def main() -> None:
    rows = []
    for first, last in (*SAME, *BETTER, *HACKED):
        for probes in PROBES:
            shown = " | ".join(f"{100 * warned(size, probes, first, last):.1f} %" for size in SIZES)
            rows.append(f"| {first:.0%} to {last:.0%} | {probes} | {shown} |")
    write_page(
        PAGE,
        TEXT.format(
            simulations=SIMULATIONS, seed=SEED, head=" | ".join(f"{size} problems" for size in SIZES),
            rule="---:|" * len(SIZES), rows="\n".join(rows), least=LEAST_PROBED,
            error=200 * (0.05 * 0.95 / SIMULATIONS) ** 0.5, half=200 * (0.25 / SIMULATIONS) ** 0.5,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
