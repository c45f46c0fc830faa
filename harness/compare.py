"""Two evaluations of the same problems -> one comparison."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from harness import stats
from harness.store import SIDES, Run, write_json
from harness.types import FLIPS_BY, Comparison, Difference, Evaluation, Metric, Score, measure

SIGNIFICANT = 0.05
MUCH_TRUNCATED = 0.10
LANGUAGE_SAMPLES = 20


def metrics_of(scores: Sequence[Score]) -> dict[str, Metric]:
    """Every metric's mean with its interval: Wilson's for shares, else Student's t, both clustered by problem."""
    clusters = [score.problem_id for score in scores]
    names = dict.fromkeys(name for score in scores for name in score.scores)
    return {name: _metric(name, [score.scores.get(name) for score in scores], clusters) for name in names}


def compare(*sides: Evaluation) -> Comparison:
    """Paired differences of the first and the last side over the problems that both answered to the same prompt.

    With more than two sides the steps from each to the next are in `others`, as {before, after, metrics}; p-values
    are adjusted over them all.
    """
    steps = [(sides[0], sides[-1]), *(pairwise(sides) if len(sides) > 2 else ())]
    differences, *others = _adjusted([_differences(before, after) for before, after in steps])
    before, after = steps[0]
    pairs = _pairs(before, after)
    first = pairs[:LANGUAGE_SAMPLES]
    languages = {
        before.name: language_counts([old for old, _ in first]),
        after.name: language_counts([new for _, new in first]),
    }
    return Comparison(
        differences,
        _flips(pairs),
        languages,
        len(first),
        tuple(_warnings(sides, pairs)),
        tuple(
            {"before": old.name, "after": new.name, "metrics": metrics}
            for (old, new), metrics in zip(steps[1:], others, strict=True)
        ),
    )


def language_counts(scores: Sequence[Score]) -> dict[str, int]:
    """How many replies reason in which language, the most frequent first."""
    return dict(Counter(score.language for score in scores).most_common())


def compare_run(run: Run) -> None:
    """Write comparison.json of a run that has more than one side."""
    sides = [run.evaluation(side) for side in SIDES if run.is_done(side)]
    if len(sides) > 1:
        write_json(run.path / "comparison.json", compare(*sides).as_dict())


def _metric(name: str, values: list[float | None], clusters: list[str]) -> Metric:
    scored = [(value, cluster) for value, cluster in zip(values, clusters, strict=True) if value is not None]
    unscored = len(values) - len(scored)
    if not scored:
        return Metric(None, None, None, 0, unscored)
    numbers, problems = zip(*scored, strict=True)
    mean = float(np.mean(numbers))
    if measure(name).share:
        low, high = stats.share_interval(numbers, problems)
    else:
        low, high = stats.mean_interval(numbers, problems)
        if measure(name).percent:
            low, high = max(low, 0.0), min(high, 1.0)
    return Metric(mean, _finite(low), _finite(high), len(numbers), unscored)


def _pairs(before: Evaluation, after: Evaluation) -> list[tuple[Score, Score]]:
    asked = {each.place: each.prompt_sha for each in after.completions}
    graded = {(score.problem_id, score.index): score for score in after.scores}
    return [
        (score, graded[completion.place])
        for completion, score in zip(before.completions, before.scores, strict=True)
        if asked.get(completion.place) == completion.prompt_sha
    ]


def _differences(before: Evaluation, after: Evaluation) -> dict[str, dict]:
    """Each metric's difference, its p-value not adjusted yet."""
    pairs = _pairs(before, after)
    return {name: _difference(name, before, after, pairs) for name in before.metrics if name in after.metrics}


def _adjusted(families: list[dict[str, dict]]) -> list[dict[str, Difference]]:
    """The differences with Holm's p-values over all of them, and their verdicts."""
    tested = [each for family in families for each in family.values() if each["p_value"] is not None]
    adjusted = iter(stats.holm([each["p_value"] for each in tested]))
    finished = []
    for family in families:
        finished.append({})
        for name, each in family.items():
            p_value = None if each["p_value"] is None else next(adjusted)
            finished[-1][name] = Difference(**each, p_adjusted=p_value, verdict=_verdict(name, each, p_value))
    return finished


def _difference(name: str, before: Evaluation, after: Evaluation, pairs: list[tuple[Score, Score]]) -> dict:
    by_problem = defaultdict(list)
    for old, new in pairs:
        values = old.scores.get(name), new.scores.get(name)
        if None not in values:
            by_problem[old.problem_id].append(values[1] - values[0])
    deltas = np.array([np.mean(values) for values in by_problem.values()])
    result = {
        "before": before.metrics[name].mean, "after": after.metrics[name].mean, "delta": None, "low": None,
        "high": None, "p_value": None, "test": None, "n_pairs": sum(map(len, by_problem.values())),
    }  # fmt: skip
    if not len(deltas):
        return result
    if measure(name).share and len(deltas) == result["n_pairs"]:
        gained, lost = int((deltas > 0).sum()), int((deltas < 0).sum())
        low, high = stats.paired_share_interval(gained, lost, len(deltas))
        test, p_value = "exact McNemar", stats.mcnemar_exact(gained, lost)
    else:
        low, high = stats.mean_interval(deltas, [str(place) for place in range(len(deltas))])
        test, p_value = "sign-flip permutation", stats.sign_flip(deltas)
    return result | {
        "delta": float(deltas.mean()), "low": _finite(low), "high": _finite(high), "p_value": p_value, "test": test,
    }  # fmt: skip


def _verdict(name: str, difference: dict, p_adjusted: float | None) -> str:
    if p_adjusted is None:
        return "not compared"
    if p_adjusted >= SIGNIFICANT:
        return "no evidence either way"
    sign = 1 if difference["delta"] > 0 else -1
    better = measure(name).better
    if better == 0:
        return "higher" if sign > 0 else "lower"
    return "better" if sign == better else "worse"


def _flips(pairs: list[tuple[Score, Score]]) -> dict[str, int]:
    counts = dict.fromkeys(("gained", "lost", "both", "neither"), 0)
    for flip in (before.flip(after) for before, after in pairs):
        if flip:
            counts[flip] += 1
    return counts


def _warnings(sides: Sequence[Evaluation], pairs: list[tuple[Score, Score]]) -> list[str]:
    warnings = []
    total = max(len(side.completions) for side in sides)
    if len(pairs) < total:
        warnings.append(
            f"{total - len(pairs)} of {total} replies have no partner with the same prompt and are left out"
        )
    for side in sides:
        truncated = side.metrics["truncated"].mean
        if truncated and truncated > MUCH_TRUNCATED:
            warnings.append(f"{side.name}: {truncated:.0%} of the replies were cut off at the limit: raise max_tokens")
        unscored = side.metrics[FLIPS_BY].unscored
        if unscored:
            warnings.append(f"{side.name}: {unscored} replies could not be graded and are left out")
    return warnings


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
