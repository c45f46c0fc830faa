"""Several trainings by one recipe: the spread from seed to seed, and an interval for the recipe that includes it.

Seeds and problems are crossed: every adapter answers the same problems. An interval of one adapter takes its training
as given, so it misses what the recipe brings on average far more often than 5 % of the time
(baselines/statistics/seeds.md); here seeds and problems are both resampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import sqrt

import numpy as np
from scipy import stats as distributions

from harness.metric_definitions import definition_of
from harness.statistics import stats
from harness.statistics.compare import primary_in_run
from harness.statistics.differences import verdict_of
from harness.statistics.pairs import asked_of_both, problem_means
from harness.statistics.stats import CONFIDENCE, holm
from harness.types import DESCRIBED, NOT_COMPARED, Evaluation, OverSeeds

RESAMPLES = 2000
Ends = tuple[float | None, float | None]


def over_seeds(before: Evaluation, afters: Mapping[int, Evaluation]) -> dict[str, OverSeeds]:
    """Compare the adapters of `afters`, by seed, with the base: each metric that all sides have."""
    asked = [asked_of_both(before, after) for after in afters.values()]
    shared = set.intersection(*map(set, asked))
    problems = [each for each in asked[0] if each in shared]
    old = problem_means(before.scores, problems)
    new = [problem_means(after.scores, problems) for after in afters.values()]
    names = [name for name in before.metrics if name in old and all(name in each for each in new)]
    over = {name: of_metric(name, list(afters), np.array([each[name] - old[name] for each in new])) for name in names}
    return _with_verdicts(over, primary_in_run([before, *afters.values()]))


def of_metric(name: str, seeds: Sequence[int], deltas: np.ndarray) -> OverSeeds:
    """One metric from differences (seeds, problems), NaN where one is missing; without a verdict."""
    known = ~np.isnan(deltas)
    if not known.any(axis=1).all():
        return OverSeeds({}, None, None, None, None, None, None, 0, None, None, NOT_COMPARED)
    by_seed, percent = np.nanmean(deltas, axis=1), definition_of(name).percent
    mean, spread = float(by_seed.mean()), float(by_seed.std(ddof=1))
    error, freedom = crossed_error(deltas)
    on_these = _interval(mean, spread / sqrt(len(seeds)), len(seeds) - 1, percent)
    # Of the recipe nothing is surer than of the adapters at hand.
    by_problem = np.nanmean(deltas[:, known.any(axis=0)], axis=0)
    of_these = stats.paired_interval(by_problem, percent)
    of_recipe = _both(_interval(mean, error, freedom, percent), of_these)
    p_value = stats.sign_flip(by_problem) if by_problem.any() else None
    if error and p_value is not None:
        p_value = max(p_value, float(2 * distributions.t.sf(abs(mean) / error, freedom)))
    differences = {str(seed): float(each) for seed, each in zip(seeds, by_seed, strict=True)}
    problems = int(known.any(axis=0).sum())
    return OverSeeds(differences, mean, spread, *on_these, *of_recipe, problems, p_value, None, DESCRIBED)


def crossed_error(deltas: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of differences (seeds, problems) where both are resampled, and its freedom.

    By a bootstrap that draws seeds and problems independently (Owen 2007, Annals of Applied Statistics 1:386), its
    variance times S / (S - 1) as few seeds show too little of it; the degrees of freedom are Satterthwaite's (1946,
    Biometrics Bulletin 2:110) of the two variances. Its coverage is in baselines/statistics/seeds.md.
    """
    seeds, problems = deltas.shape
    known = ~np.isnan(deltas)
    of_seeds, of_problems = _weights("seeds", seeds), _weights("problems", problems)
    sums = (of_seeds * (np.where(known, deltas, 0.0) @ of_problems)).sum(axis=0)
    counts = (of_seeds * (known.astype(float) @ of_problems)).sum(axis=0)
    means = sums[counts > 0] / counts[counts > 0]
    by_seed, by_problem = np.nanmean(deltas, axis=1), np.nanmean(deltas[:, known.any(axis=0)], axis=0)
    variances = [
        (stats.clustered_error(each, np.arange(len(each))) ** 2, max(len(each) - 1, 1))
        for each in (by_seed, by_problem)
    ]
    whole = sum(variance for variance, _ in variances)
    if not whole:
        return 0.0, 1.0
    freedom = whole**2 / sum(variance**2 / each for variance, each in variances)
    return float(means.std() * sqrt(seeds / (seeds - 1))), freedom


@lru_cache(maxsize=4)
def _weights(what: str, count: int) -> np.ndarray:
    """How often each of so many is in each resample, an array (count, resamples); the same every time."""
    return (
        np.random.default_rng([len(what), count])
        .multinomial(count, np.full(count, 1 / count), RESAMPLES)
        .T.astype(float)
    )


def _interval(mean: float, error: float, freedom: float, percent: bool) -> Ends:
    """Student's t interval, of a difference in percent from -1 to 1; unknown where nothing varies."""
    if not error:
        return None, None
    half = float(distributions.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    low, high = mean - half, mean + half
    return (max(low, -1.0), min(high, 1.0)) if percent else (low, high)


def _both(one: Ends, other: Ends) -> Ends:
    """From the lowest to the highest end that is known."""
    lows, highs = ([each for each in ends if each is not None] for ends in zip(one, other, strict=True))
    return (min(lows), max(highs)) if lows else (None, None)


def _with_verdicts(over: Mapping[str, OverSeeds], primary: Sequence[str]) -> dict[str, OverSeeds]:
    """The metrics with verdicts on the primary ones, by Holm's p-values over those that vary."""
    tested = [name for name in primary if name in over and over[name].p_value is not None]
    corrected = dict(zip(tested, holm([over[name].p_value for name in tested]), strict=True))
    result = dict(over)
    for name in primary:
        if name in over and over[name].verdict != NOT_COMPARED:
            p_value = corrected.get(name, 1.0)
            verdict = verdict_of(definition_of(name), over[name].delta, p_value)
            result[name] = replace(over[name], p_adjusted=p_value, verdict=verdict)
    return result
