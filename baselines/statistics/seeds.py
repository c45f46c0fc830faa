"""How often each interval contains what a recipe brings on average: python -m baselines.statistics.seeds

It prints the table and writes it to seeds.md next to this file, out of some two minutes of processor time.
"""

from pathlib import Path

import numpy as np
from scipy.special import expit

from baselines.statistics.simulation import write_page
from harness.statistics import stats
from harness.statistics.seed_statistics import of_metric

PAGE = Path(__file__).parent / "seeds.md"
# Spread of the base's log-odds over problems, of what training adds to them over problems, and of what one training
# adds to one problem, beside the mean of it.
PROBLEM_SPREAD, EFFECT_SPREAD, OWN_SPREAD, EFFECT = 1.5, 0.25, 0.5, 0.5
SEED_COUNTS, PROBLEM_COUNTS, SEED_SPREADS = (2, 3, 5, 10), (100, 1319), (0.0, 0.1, 0.3)
SEED, SIMULATIONS, TRUTH_DRAWS = 20261128, 1000, 400_000
TEXT = """# Several trainings: which interval has in it what the recipe brings?

A recipe adds {effect} to the log-odds of a correct answer, more or less by problem; one training adds a random number
of its own to that, whose standard deviation (of log-odds) is the first column. Each simulated experiment has so many
trainings, all evaluated once on the same new problems. The share of {simulations} such experiments whose 95 % interval
has in it what the recipe brings on average over all trainings and problems:

| spread of trainings | problems | trainings | one adapter | these adapters | Student's t over seeds | the recipe |
|---:|---:|---:|---:|---:|---:|---:|
{rows}

"One adapter" is the interval of a run without `--training-seeds`. It is right about its adapter, and wrong about the
recipe as soon as trainings differ: the more problems, the surer it is of the wrong thing. "These adapters" is the
interval over problems of the mean of all. Student's t over seeds takes the problems as given, so it may leave out what
holds for others like them; it is shown as it says how far seeds alone move the figure. "The recipe" draws seeds and
problems anew; it is wide for two or three trainings, as so few say little. A share is good to ±{error:.1f} points (two
standard errors); seed {seed}.
"""


def experiment(draw: np.random.Generator, seeds: int, problems: int, spread: float) -> np.ndarray:
    """Differences (seeds, problems) of one reply per problem and side: -1, 0 or 1."""
    base = draw.normal(0, PROBLEM_SPREAD, problems)
    before = draw.random(problems) < expit(base)
    return (draw.random((seeds, problems)) < expit(base + _added(draw, seeds, problems, spread))).astype(float) - before


def _added(draw: np.random.Generator, seeds: int, problems: int, spread: float) -> np.ndarray:
    shared = EFFECT + draw.normal(0, EFFECT_SPREAD, problems)
    return shared + draw.normal(0, spread, (seeds, 1)) + draw.normal(0, OWN_SPREAD, (seeds, problems))


def truth(spread: float) -> float:
    """The recipe's mean difference over trainings and problems."""
    draw = np.random.default_rng(SEED)
    base = draw.normal(0, PROBLEM_SPREAD, TRUTH_DRAWS)
    whole = draw.normal(EFFECT, (EFFECT_SPREAD**2 + spread**2 + OWN_SPREAD**2) ** 0.5, TRUTH_DRAWS)
    return float((expit(base + whole) - expit(base)).mean())


def coverages(seeds: int, problems: int, spread: float, simulations: int = SIMULATIONS) -> tuple[float, ...]:
    """How often each interval contains the truth, as a share: one adapter, these, over seeds, the recipe."""
    draw = np.random.default_rng([SEED, seeds, problems, round(100 * spread)])
    wanted, hits = truth(spread), np.zeros(4)
    for _ in range(simulations):
        deltas = experiment(draw, seeds, problems, spread)
        found = of_metric("accuracy_flexible", range(seeds), deltas)
        intervals = (
            stats.paired_interval(deltas[0], bounded=True),
            stats.paired_interval(deltas.mean(axis=0), bounded=True),
            (found.seeds_low, found.seeds_high),
            (found.low, found.high),
        )
        hits += [low is not None and low <= wanted <= high for low, high in intervals]
    return tuple(hits / simulations)


def main() -> None:
    rows = [
        f"| {spread:g} | {problems:,} | {seeds} | "
        + " | ".join(f"{100 * each:.1f} %" for each in coverages(seeds, problems, spread))
        + " |"
        for spread in SEED_SPREADS
        for problems in PROBLEM_COUNTS
        for seeds in SEED_COUNTS
    ]
    error = 200 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    write_page(PAGE, TEXT.format(effect=EFFECT, simulations=SIMULATIONS, rows="\n".join(rows), error=error, seed=SEED))


if __name__ == "__main__":
    main()
