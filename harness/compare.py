"""Two evaluations of the same problems -> one comparison."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from harness import repeats, stats
from harness.files import write_json
from harness.pairs import Pairs, by_problem, columns, made_otherwise, other_weights, pair, unlike
from harness.store import Run
from harness.types import FLIPS_BY, NO_EVIDENCE, Comparison, Difference, Evaluation, Measure, Metric, Score, measure

SIGNIFICANT = 0.05
MUCH_TRUNCATED = 0.10
LANGUAGE_SAMPLES = 20


def metrics_of(scores: Sequence[Score]) -> dict[str, Metric]:
    """Every metric's mean with its interval: Wilson's for shares, else Student's t, both clustered by problem.

    pass@k and maj@k are means over problems, where these have several replies each.
    """
    _, problems = np.unique([score.problem_id for score in scores], return_inverse=True)
    metrics = {name: metric_of(measure(name), values, problems) for name, values in columns(scores).items()}
    for name, values in repeats.metrics(scores).items():
        metrics[name] = metric_of(measure(name), np.array(list(values.values())), np.arange(len(values)))
    return metrics


def compare(*sides: Evaluation) -> Comparison:
    """Paired differences of the first and the last side over the problems that both answered to the same prompt.

    With more than two sides the steps from each to the next are in `others`, as {before, after, metrics}; p-values
    are adjusted over them all.
    """
    steps = [(sides[0], sides[-1]), *(pairwise(sides) if len(sides) > 2 else ())]
    paired = [pair(before, after) for before, after in steps]
    differences, *others = _adjusted([_differences(*step, pairs) for step, pairs in zip(steps, paired, strict=True)])
    steps_between = tuple(
        {"before": old.name, "after": new.name, "metrics": metrics}
        for (old, new), metrics in zip(steps[1:], others, strict=True)
    )
    return _comparison(sides, paired[0], differences, steps_between)


def compare_each(baseline: Evaluation, others: Sequence[Evaluation]) -> list[Comparison]:
    """Each of the others against the baseline, paired by problem whatever the prompts; p-values adjusted over all."""
    paired = [pair(baseline, other, same_prompts=False) for other in others]
    families = [_differences(baseline, other, pairs) for other, pairs in zip(others, paired, strict=True)]
    return [
        _comparison((baseline, other), pairs, differences)
        for other, pairs, differences in zip(others, paired, _adjusted(families), strict=True)
    ]


def judge(values: Mapping[str, tuple[Measure, np.ndarray, np.ndarray]]) -> dict[str, Difference]:
    """The differences of any family of metrics: of each its Measure and both sides' values, a pair a problem."""
    family = {name: _difference(kind, old, new, np.arange(len(old))) for name, (kind, old, new) in values.items()}
    return _adjusted([family])[0]


def metric_of(kind: Measure, values: np.ndarray, problems: np.ndarray) -> Metric:
    """A mean over replies, with its interval clustered by problem; NaN is unscored."""
    scored = ~np.isnan(values)
    unscored = int((~scored).sum())
    if not scored.any():
        return Metric(None, None, None, 0, unscored)
    numbers, problems = values[scored], problems[scored]
    # What is all 0 or all 1 shows no spread, which is no proof that there is none.
    if kind.share or (kind.percent and numbers.min() == numbers.max() in (0, 1)):
        low, high = stats.share_interval(numbers, problems)
    else:
        low, high = stats.mean_interval(numbers, problems)
        if kind.percent:
            low, high = max(low, 0.0), min(high, 1.0)
    return Metric(float(numbers.mean()), _finite(low), _finite(high), len(numbers), unscored)


def language_counts(scores: Sequence[Score]) -> dict[str, int]:
    """How many replies reason in which language, the most frequent first."""
    return dict(Counter(score.language for score in scores).most_common())


def compare_run(run: Run, sides: Sequence[Evaluation]) -> None:
    """Write comparison.json of a run that has more than one side."""
    if len(sides) > 1:
        write_json(run.path / "comparison.json", compare(*sides).as_dict())
        run.keep(run.path / "comparison.json")


def _comparison(
    sides: Sequence[Evaluation], pairs: Pairs, differences: dict[str, Difference], steps: tuple[dict, ...] = ()
) -> Comparison:
    first = min(len(pairs), LANGUAGE_SAMPLES)
    languages = {
        sides[0].name: language_counts(pairs.before[:first]),
        sides[-1].name: language_counts(pairs.after[:first]),
    }
    return Comparison(differences, _flips(pairs), languages, first, tuple(_warnings(sides, pairs)), steps)


def _differences(before: Evaluation, after: Evaluation, pairs: Pairs) -> dict[str, dict]:
    """Each metric's difference, and what is judged of it once it is known how many are tested."""
    old, new = columns(pairs.before), columns(pairs.after)
    values = {name: (old[name], new[name], pairs.problems) for name in old if name in new}
    old_repeats, new_repeats = repeats.metrics(pairs.before), repeats.metrics(pairs.after)
    for name in old_repeats.keys() & new_repeats.keys():
        common = [each for each in old_repeats[name] if each in new_repeats[name]]
        sides = (np.array([known[name][each] for each in common]) for known in (old_repeats, new_repeats))
        values[name] = *sides, np.arange(len(common))
    nothing = np.array([]), np.array([]), np.array([], dtype=int)
    names = [name for name in before.metrics if name in after.metrics]
    return {name: _difference(measure(name), *values.get(name, nothing)) for name in names}


def _difference(kind: Measure, old: np.ndarray, new: np.ndarray, problems: np.ndarray) -> dict:
    """One metric over the pairs that are scored on both sides, each problem counting once."""
    scored = ~np.isnan(old) & ~np.isnan(new)
    result = {
        "before": None, "after": None, "delta": None, "low": None, "high": None, "p_value": None, "test": None,
        "n_pairs": int(scored.sum()), "kind": kind,
    }  # fmt: skip
    if not scored.any():
        return result
    before, after = (by_problem(side[scored], problems[scored]) for side in (old, new))
    deltas = after - before
    if kind.share and len(deltas) == result["n_pairs"]:
        judged = _judged_by_shares(deltas)
    else:
        judged = _judged_by_means(deltas, kind.percent)
    means = {"before": float(before.mean()), "after": float(after.mean()), "delta": float(deltas.mean())}
    return result | means | judged


def _judged_by_shares(deltas: np.ndarray) -> dict:
    """One reply a problem, each right or wrong."""
    n, gained, lost = len(deltas), int((deltas > 0).sum()), int((deltas < 0).sum())
    low, high = stats.paired_interval(deltas, share=True, bounded=True)
    return {
        "low": low, "high": high, "test": "exact McNemar", "p_value": stats.mcnemar_exact(gained, lost),
        "power": lambda tests: _power_of_shares(n, gained, lost, tests),
    }  # fmt: skip


def _judged_by_means(deltas: np.ndarray, bounded: bool) -> dict:
    """A number a problem: of several replies, or of a metric that counts; `bounded`: from -1 to 1."""
    n, spread = len(deltas), float(deltas.std(ddof=1)) if len(deltas) > 1 else 0.0
    low, high = stats.paired_interval(deltas, share=False, bounded=bounded)
    return {
        "low": low, "high": high, "test": "sign-flip permutation", "p_value": stats.sign_flip(deltas),
        "power": lambda tests: _power_of_means(n, float(deltas.mean()), spread, tests),
    }  # fmt: skip


def _power_of_shares(n: int, gained: int, lost: int, tests: int) -> dict:
    changed = (gained + lost) / n
    detectable = stats.detectable_difference(n, changed, tests=tests) if changed else None
    return {"detectable": detectable, "needed": stats.problems_needed((gained - lost) / n, changed, tests=tests)}


def _power_of_means(n: int, delta: float, spread: float, tests: int) -> dict:
    if not spread:
        return {}
    needed = stats.needed_for_mean(delta, spread, tests=tests)
    return {"detectable": stats.detectable_mean(n, spread, tests=tests), "needed": needed}


def _adjusted(families: list[dict[str, dict]]) -> list[dict[str, Difference]]:
    """The differences with Holm's p-values over all of them, and their verdicts."""
    tested = [each for family in families for each in family.values() if each["p_value"] is not None]
    adjusted = iter(stats.holm([each["p_value"] for each in tested]))
    return [
        {
            name: _finished(each, None if each["p_value"] is None else next(adjusted), len(tested))
            for name, each in family.items()
        }
        for family in families
    ]


def _finished(difference: dict, p_adjusted: float | None, tests: int) -> Difference:
    known = {key: value for key, value in difference.items() if key not in ("power", "kind")}
    power = difference["power"](tests) if "power" in difference else {}
    verdict = _verdict(difference, p_adjusted)
    return Difference(
        **known, **power, p_adjusted=p_adjusted, verdict=verdict, note=_note(difference, p_adjusted, tests)
    )


def _verdict(difference: dict, p_adjusted: float | None) -> str:
    if p_adjusted is None:
        return "not compared"
    if p_adjusted >= SIGNIFICANT:
        return NO_EVIDENCE
    sign = 1 if difference["delta"] > 0 else -1
    better = difference["kind"].better
    if better == 0:
        return "higher" if sign > 0 else "lower"
    return "better" if sign == better else "worse"


def _note(difference: dict, p_adjusted: float | None, tests: int) -> str:
    """Where the interval and the test, or the test alone and among all, say different things."""
    p_value, low, high = difference["p_value"], difference["low"], difference["high"]
    if p_value is None or low is None:
        return ""
    leaves_0_out, rejects = low > 0 or high < 0, p_value < SIGNIFICANT
    if leaves_0_out != rejects:
        seen = "leaves 0 out, the test does not reject" if leaves_0_out else "holds 0, the test rejects"
        return f"the interval {seen} (p = {p_value:.3f}): the verdict follows the test"
    if rejects and p_adjusted >= SIGNIFICANT:
        return f"p = {p_value:.3f} alone, {p_adjusted:.3f} as one of {tests} tests (Holm), which decides"
    return ""


def _flips(pairs: Pairs) -> dict[str, int]:
    counts = dict.fromkeys(("gained", "lost", "both", "neither"), 0)
    for flip in (before.flip(after) for before, after in zip(pairs.before, pairs.after, strict=True)):
        if flip:
            counts[flip] += 1
    return counts


def _warnings(sides: Sequence[Evaluation], pairs: Pairs) -> list[str]:
    """What a reader must know before the differences, each with the side that it is of."""
    first, last, warnings = sides[0], sides[-1], []
    if differ := unlike(first, last):
        warnings.append(
            f"{last.name} and {first.name} are not a clean pair, their difference is of all this and not of the models "
            f"alone: {'; '.join(differ.values())}"
        )
    if differ := made_otherwise(last, first):
        warnings.append(f"not made alike by {last.name} and {first.name}: {', '.join(differ)}")
    warnings += other_weights(sides)
    for side in (first, last):
        alone = len(side.completions) - len(pairs)
        if alone:
            warnings.append(
                f"{side.name}: {alone} of {len(side.completions)} replies have no partner to the same problem and are "
                "left out of the differences"
            )
    for side in sides:
        truncated = side.metrics["truncated"].mean if "truncated" in side.metrics else None
        if truncated and truncated > MUCH_TRUNCATED:
            warnings.append(f"{side.name}: {truncated:.0%} of the replies were cut off at the limit: raise max_tokens")
        unscored = side.metrics[FLIPS_BY].unscored
        if unscored:
            warnings.append(f"{side.name}: {unscored} replies could not be graded and are left out")
    return warnings


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
