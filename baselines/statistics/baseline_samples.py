"""How several replies of the base narrow a difference's interval: python -m baselines.statistics.baseline_samples

    python -m baselines.statistics.baseline_samples [ADAPTER]

It trains the embedded model by the default recipe unless an adapter of it is given, prints the tables and writes them
to baseline_samples.md next to this file, out of some 8 minutes of processor time and 3 more of training.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from baselines.statistics.simulation import write_page
from harness.config import Configuration
from harness.configure import configure
from harness.data import datasets
from harness.evaluation.evaluate import open_engine
from harness.evaluation.prompts import requests
from harness.evaluation.scoring import score_all
from harness.metric_definitions import definition_of
from harness.statistics import stats
from harness.statistics.differences import PRIMARY, SIGNIFICANT, estimate
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Request

PAGE = Path(__file__).parent / "baseline_samples.md"
KS, SIZES = (1, 4, 8), (100, 300)
# Mean chance of a correct answer, its gain, the correlation within a problem, the share of problems that all is gained
# by (0: each gains in proportion to what it lacks).
GAINS = ((0.5, 0.1, 0.2, 0.0), (0.5, 0.1, 0.5, 0.0), (0.5, 0.1, 0.8, 0.0), (0.5, 0.1, 0.5, 0.3), (0.9, 0.04, 0.5, 0.0))
NOTHING = ((0.5, 0.0, 0.5, 0.0), (0.9, 0.0, 0.5, 0.0), (0.1, 0.0, 0.5, 0.0))
SEED, SIMULATIONS = 20261128, 2000
PROBLEMS, ADAPTED, SEEDS = 300, 4, (3407, 3408)
TEXT = """# Several replies of the base: how much narrower the interval gets

`--baseline-samples K`: the difference of a problem is the adapter's one reply minus the mean of K replies of the base.

## Simulated

A problem's chance of a correct answer is a Beta variable of the given mean; its replies correlate as given (0: all
problems are equally hard, 1: each is always right or always wrong). The adapter raises every chance in proportion to
what it lacks; in the rows "30% of them" those problems alone get a new chance. {simulations} simulated runs a row,
seed {seed}. Each cell has the values at K = {ks}: the width of the 95 % interval in points, that width as a part of
the one at K = 1, how often the test alone rejects at 5 %, and how often the interval holds the true gain.

| problems | correct, gain | correlation | gained by | width | part of K = 1 | power | coverage |
|---:|---|---:|---|---|---|---|---|
{gains}

Where nothing changes, how often the test rejects (at most 5 % are allowed), and coverage:

| problems | correct | correlation | rejected | coverage |
|---:|---:|---:|---|---|
{nothing}

A rate is good to ±{error:.1f} points where it is 5 or 95 % (two standard errors). Coverage in the mean over all rows:
{covered}. With one reply per problem the test is McNemar's exact one, which is conservative; with more it is the
sign-flip permutation test, which keeps to 5 % within that error although the sides have different numbers of replies.

The noise of a mean of K replies is a K-th of that of one; that of the adapter's one reply stays. Where both sides are
equally noisy and nothing else differs between problems, the width goes to 0.79 at K = 4, 0.75 at K = 8 and 0.71 at the
best. It gains less where problems differ in what they gain, and more where the base is the noisier side, as below.

## The embedded model

The base and an adapter of the default recipe on {problems} problems, sampled at temperature {temperature} by the
transformers engine. Both are asked with the seeds {seeds}, the base {most} times per problem and the adapter {adapted}
times; a width is the mean over all its replies, each taken for the one of a run. "The same" is how a run does it: a
reply's random numbers are those of (seed, problem, index), so the adapter's reply shares them with one of the K. For
"others" the adapter's replies of one seed are compared with the base's of the other.

| metric | base, adapter | random numbers | width at K = {ks} | part of K = 1 with others |
|---|---|---|---|---|
{embedded}

Common random numbers make the interval narrower. They are shared with one of the K replies only, so they bring the
less, the larger K is:

{common}

vLLM does the same by request: each carries a seed made of (seed, problem, index), the same for base and adapter
(`SEEDED` in engines/vllm.py). There it was not measured.
"""


def chances(
    draw: np.random.Generator, size: int, mean: float, gain: float, correlation: float, by: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each problem's chance of a correct answer before and after."""
    strength = 1 / correlation - 1
    before = draw.beta(mean * strength, (1 - mean) * strength, size)
    if not by:
        return before, 1 - (1 - before) * (1 - mean - gain) / (1 - mean)
    better = mean + gain / by
    fresh = draw.beta(better * strength, (1 - better) * strength, size)
    return before, np.where(draw.random(size) < by, fresh, before)


def simulated(size: int, case: tuple[float, float, float, float], simulations: int = SIMULATIONS) -> np.ndarray:
    """A row of width, rejections and coverage for each K."""
    draw = np.random.default_rng([SEED, size, *(round(100 * each) for each in case)])
    found = np.zeros((len(KS), 3))
    for _ in range(simulations):
        before, after = chances(draw, size, *case)
        base = draw.random((size, max(KS))) < before[:, None]
        adapted = (draw.random(size) < after).astype(float)
        for place, k in enumerate(KS):
            each = estimate(definition_of(ACCURACY_FLEXIBLE), base[:, :k].mean(axis=1), adapted, np.arange(size))
            rejected = each.p_value < SIGNIFICANT
            found[place] += each.high - each.low, rejected, each.low <= case[1] <= each.high
    return found / simulations


def replies(config: Configuration, adapter: str, k: int) -> dict[str, np.ndarray]:
    """The values of the primary metrics, one row per problem, one column per reply of `k`, of base or adapter."""
    asked, data = config.model_copy(update={"samples": k}), datasets.evaluation_problems(config)
    engine = open_engine(asked, adapter or None)
    wanted: list[Request] = requests(asked, data, engine, adapted=bool(adapter))
    drawn = [each for batch in engine.generate(wanted, frozenset(), asked.sampling) for _, each in batch]
    drawn.sort(key=lambda each: each.position)
    scores = score_all(drawn, asked, data.equality)
    return {name: np.array([each.scores[name] for each in scores], dtype=float).reshape(-1, k) for name in PRIMARY}


def widths(base: np.ndarray, adapted: np.ndarray) -> list[float]:
    """The width for each K in the mean over the adapter's replies, each of which is among the first K of the base."""
    return [
        float(np.mean([_width(adapted[:, j] - base[:, _places(j, k)].mean(axis=1)) for j in range(adapted.shape[1])]))
        for k in KS
    ]


def _places(index: int, k: int) -> list[int]:
    """K of the base's replies, the one with this index among them."""
    return [(index + each) % max(KS) for each in range(k)]


def _width(deltas: np.ndarray) -> float:
    low, high = stats.paired_interval(deltas, bounded=True)
    return high - low


def _trained(folder: Path) -> str:
    """An adapter by the default recipe."""
    subprocess.run([sys.executable, "-m", "harness", "train", "--output", folder / "run"], check=True)
    return str(folder / "run" / "train" / "adapter")


def of_embedded(adapter: str) -> tuple[list[str], str]:
    """The table's rows and what common random numbers bring."""
    config = datasets.settle_split(configure(None, None, {"limit": PROBLEMS}, []), trains=True)
    seeded = [config.model_copy(update={"seed": seed}) for seed in SEEDS]
    base, adapted = (
        [replies(each, "", max(KS)) for each in seeded],
        [replies(each, adapter, ADAPTED) for each in seeded],
    )
    rows, said = [], []
    for name in (ACCURACY_FLEXIBLE, ACCURACY_STRICT, "format_strict"):
        then, now = ([each[name] for each in side] for side in (base, adapted))
        common, others = (
            np.mean([widths(*sides) for sides in zip(then, order, strict=True)], axis=0) for order in (now, now[::-1])
        )
        means = f"{np.mean(then):.1%}, {np.mean(now):.1%}"
        for numbers, found in (("others", others), ("the same", common)):
            share = " · ".join(f"{each / others[0]:.2f}" for each in found)
            rows.append(f"| {name} | {means} | {numbers} | {_points(found)} | {share} |")
        fewer = ", ".join(f"{1 - one / two:.0%} at K = {k}" for k, one, two in zip(KS, common, others, strict=True))
        said.append(f"- {name}: by {fewer}")
    return rows, "\n".join(said)


def _points(values: list[float]) -> str:
    return " · ".join(f"{100 * each:.1f}" for each in values)


def _percent(values: np.ndarray) -> str:
    return " · ".join(f"{each:.1%}" for each in values)


def of_simulation() -> Iterator[tuple[int, tuple[float, float, float, float], np.ndarray]]:
    """Each cell with its results."""
    cells = [(size, case) for case in (*GAINS, *NOTHING) for size in SIZES]
    with ProcessPoolExecutor() as pool:
        for cell, found in zip(cells, pool.map(_cell, cells), strict=True):
            yield *cell, found


def _cell(cell: tuple[int, tuple[float, float, float, float]]) -> np.ndarray:
    return simulated(*cell)


def main() -> None:
    gains, nothing, covered = [], [], []
    for size, case, found in of_simulation():
        (mean, gain, correlation, by), (width, rejected, coverage) = case, found.T
        covered.append(coverage)
        if gain:
            ratio = " · ".join(f"{each / width[0]:.2f}" for each in width)
            who = f"{by:.0%} of them" if by else "all"
            gains.append(f"| {size} | {mean:.0%}, {100 * gain:.0f} points | {correlation} | {who} | {_points(width)} | "
                         f"{ratio} | {_percent(rejected)} | {_percent(coverage)} |")  # fmt: skip
        else:
            nothing.append(f"| {size} | {mean:.0%} | {correlation} | {_percent(rejected)} | {_percent(coverage)} |")
    with tempfile.TemporaryDirectory() as folder:
        adapter = sys.argv[1] if len(sys.argv) > 1 else _trained(Path(folder))
        embedded, common = of_embedded(adapter)
    text = TEXT.format(
        simulations=SIMULATIONS, seed=SEED, ks=" · ".join(map(str, KS)), gains="\n".join(gains),
        nothing="\n".join(nothing), error=200 * (0.95 * 0.05 / SIMULATIONS) ** 0.5,
        covered=_percent(np.mean(covered, axis=0)), problems=PROBLEMS, temperature="1.0", adapted=ADAPTED,
        seeds=" and ".join(map(str, SEEDS)), most=max(KS), embedded="\n".join(embedded), common=common,
    )  # fmt: skip
    write_page(PAGE, text)


if __name__ == "__main__":
    main()
