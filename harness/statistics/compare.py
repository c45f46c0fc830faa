"""Compare evaluations of the same problems."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from harness.errors import UserError
from harness.findings import StoppedEarly, stopped_early
from harness.metric_definitions import MetricDefinition, definition_of
from harness.statistics import repeats, stats
from harness.statistics.differences import (
    SIGNIFICANT,
    USUAL_LANGUAGES,
    Estimate,
    estimate,
    primary_metrics,
    with_verdicts,
)
from harness.statistics.gain import gain
from harness.statistics.pairs import (
    Pairs,
    asked_of_both,
    changed_models,
    columns,
    of_several_adapters,
    other_weights,
    pair,
    paired_values,
    provenance_differences,
    uneven,
    uneven_by_configuration,
    unlike,
)
from harness.types import ACCURACY_STRICT, Comparison, Completion, Difference, Evaluation, MetricValue, Score

MUCH_TRUNCATED = 0.10
LANGUAGE_SAMPLES = 20


def metrics_of(scores: Sequence[Score], of_one_model: bool = True) -> dict[str, MetricValue]:
    """Compute every metric's mean with its interval: Wilson's from 0 to 1, else Student's t, clustered by problem.

    pass@k and maj@k are means over problems, where these have several replies each, all of one model.
    """
    _, problems = np.unique([score.problem_id for score in scores], return_inverse=True)
    metrics = {name: metric_of(definition_of(name), values, problems) for name, values in columns(scores).items()}
    for name, values in repeats.metrics(scores).items() if of_one_model else ():
        metrics[name] = metric_of(definition_of(name), np.array(list(values.values())), np.arange(len(values)))
    return metrics


def compare(*sides: Evaluation) -> Comparison:
    """Compare the first and the last side over the problems that both have replies to, to the same prompt.

    With more than two sides the steps from each to the next are in `others`, as {before, after, metrics}, described
    and without verdicts. A primary metric that the run names is the only one with a verdict, which allows for looks
    with --stop-early.
    """
    stopped = stopped_early(sides[-1].provenance)
    steps = [(sides[0], sides[-1]), *(pairwise(sides) if len(sides) > 2 else ())]
    (differences,) = with_verdicts([_estimates(*steps[0], stopped=stopped)], primary_in_run(sides), stopped)
    others = with_verdicts([_estimates(*step) for step in steps[1:]], primary=())
    steps_between = tuple(
        {"before": old.name, "after": new.name, "metrics": metrics}
        for (old, new), metrics in zip(steps[1:], others, strict=True)
    )
    return _comparison(sides, pair(*steps[0]), differences, steps_between, stopped=stopped)


def compare_each(baseline: Evaluation, others: Sequence[Evaluation]) -> list[Comparison]:
    """Compare each of the others with the baseline, paired by problem whatever the prompts; p corrected over all.

    The metrics with a verdict are the usual ones, whatever each run named as its own.
    """
    families = [_estimates(baseline, other, same_prompts=False) for other in others]
    differences = with_verdicts(families, primary_of((baseline, *others)))
    return [
        _comparison((baseline, other), pair(baseline, other, same_prompts=False), each, same_prompts=False)
        for other, each in zip(others, differences, strict=True)
    ]


def over_common_problems(sides: Sequence[Evaluation]) -> list[Evaluation]:
    """The sides with their replies to those problems alone that all of them have, all samples of them.

    Raises UserError if there is no such problem.
    """
    shared = set.intersection(*({each.problem_id for each in side.completions} for side in sides))
    if not shared:
        raise UserError(
            f"no problem is in all of {', '.join(side.name for side in sides)}: compare fewer of them at once"
        )
    return [restricted(side, lambda each: each.problem_id in shared) for side in sides]


def restricted(side: Evaluation, keeps: Callable[[Completion], bool]) -> Evaluation:
    """The side with those of its replies alone that `keeps` takes; its metrics are of these."""
    pairs = [each for each in zip(side.completions, side.scores, strict=True) if keeps(each[0])]
    completions, scores = (tuple(pair[place] for pair in pairs) for place in (0, 1))
    metrics = metrics_of(scores, not of_several_adapters(side.settings, side.provenance))
    return replace(side, completions=completions, scores=scores, metrics=metrics)


def primary_in_run(sides: Sequence[Evaluation]) -> tuple[str, ...]:
    """The metric that the run names as its primary one, or the usual ones."""
    named = sides[-1].settings.get("primary")
    return (named,) if named else primary_of(sides)


def primary_of(sides: Sequence[Evaluation]) -> tuple[str, ...]:
    """The metrics that get a verdict: language_ratio too where one side has another target language than English."""
    languages = [side.settings.get("language") for side in sides]
    return primary_metrics(next((each for each in languages if each not in USUAL_LANGUAGES), None))


def metric_of(definition: MetricDefinition, values: np.ndarray, problems: np.ndarray) -> MetricValue:
    """Compute a mean over replies, with its interval clustered by problem; NaN is unscored."""
    scored = ~np.isnan(values)
    unscored = int((~scored).sum())
    if not scored.any():
        return MetricValue(None, None, None, 0, unscored)
    numbers, problems = values[scored], problems[scored]
    if definition.percent and len(np.unique(problems)) == len(numbers):
        low, high = stats.bounded_interval(numbers)
    # What is all 0 or all 1 shows no spread, which is no proof that there is none.
    elif definition.share or (definition.percent and numbers.min() == numbers.max() in (0, 1)):
        low, high = stats.share_interval(numbers, problems)
    else:
        low, high = stats.mean_interval(numbers, problems)
        if definition.percent:
            low, high = max(low, 0.0), min(high, 1.0)
    return MetricValue(float(numbers.mean()), _finite(low), _finite(high), len(numbers), unscored)


def language_counts(scores: Sequence[Score]) -> dict[str, int]:
    """How many replies reason in which language, the most frequent first."""
    return dict(Counter(score.language for score in scores).most_common())


def _comparison(
    sides: Sequence[Evaluation],
    pairs: Pairs,
    differences: dict[str, Difference],
    steps: tuple[dict, ...] = (),
    same_prompts: bool = True,
    stopped: StoppedEarly | None = None,
) -> Comparison:
    first = min(len(pairs), LANGUAGE_SAMPLES)
    languages = {
        sides[0].name: language_counts(pairs.before[:first]),
        sides[-1].name: language_counts(pairs.after[:first]),
    }
    split = gain(sides[0], sides[-1], same_prompts)
    return Comparison(
        differences,
        _flips(pairs),
        languages,
        first,
        tuple(_warnings(sides, pairs, stopped)),
        steps,
        split.as_shares() if split else None,
    )


def _estimates(
    before: Evaluation, after: Evaluation, same_prompts: bool = True, stopped: StoppedEarly | None = None
) -> dict[str, Estimate]:
    """The difference of each metric that both sides have.

    The metric that decided when to stop has the interval of its look.
    """
    values = _values(before, after, same_prompts)
    nothing = np.array([]), np.array([]), np.array([], dtype=int)
    names = [name for name in before.metrics if name in after.metrics]
    levels = {stopped.metric: stopped.level} if stopped else {}
    return {
        name: estimate(definition_of(name), *values.get(name, nothing), level=levels.get(name, SIGNIFICANT))
        for name in names
    }


def _values(
    before: Evaluation, after: Evaluation, same_prompts: bool
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each metric's values on both sides, pair by pair, and the number of each pair's problem."""
    paired = paired_values(before, after, same_prompts)
    both = paired.before.keys() & paired.after.keys()
    values = {name: (paired.before[name], paired.after[name], paired.problems) for name in both}
    asked = {each.problem_id for each in paired.asked}
    old, new = (
        repeats.metrics([score for score in side.scores if score.problem_id in asked]) for side in (before, after)
    )
    for name in old.keys() & new.keys():
        common = [problem for problem in old[name] if problem in new[name]]
        sides = (np.array([side[name][problem] for problem in common]) for side in (old, new))
        values[name] = *sides, np.arange(len(common))
    return values


def _flips(pairs: Pairs) -> dict[str, int]:
    counts = dict.fromkeys(("gained", "lost", "both", "neither"), 0)
    for flip in (before.flip(after) for before, after in zip(pairs.before, pairs.after, strict=True)):
        if flip:
            counts[flip] += 1
    return counts


def _warnings(sides: Sequence[Evaluation], pairs: Pairs, stopped: StoppedEarly | None) -> list[str]:
    """Warnings to be read before the differences, each with the side that it is about.

    Where the last side `stopped` early by this very comparison, problems after that are not missing from it.
    """
    first, last, warnings = sides[0], sides[-1], []
    if differ := unlike(first, last):
        warnings.append(
            f"{last.name} and {first.name} are not a clean pair, their difference is of all this and not of the models "
            f"alone: {'; '.join(differ.values())}"
        )
    if differ := provenance_differences(last, first):
        warnings.append(f"not made alike by {last.name} and {first.name}: {', '.join(differ)}")
    warnings += changed_models((side.name, side.provenance) for side in sides)
    warnings += other_weights((side.name, side.settings, side.provenance) for side in sides)
    asked = set(asked_of_both(first, last))
    if uneven(first, last) and not uneven_by_configuration(first, last):
        warnings.append(
            f"{first.name} and {last.name} have different numbers of replies to a problem: each problem counts by the "
            "mean of all its replies"
        )
    if stopped is None:
        warnings += [
            _chosen_moment(side, end) for side in sides if (end := stopped_early(side.provenance)) and end.is_early
        ]
    for side in (first, last):
        alone = len(side.completions) - len(pairs)
        if uneven(first, last):
            alone = sum(each.problem_id not in asked for each in side.completions)
        if stopped and side is first:
            alone -= sum(each.problem_id not in asked for each in side.completions)
        if alone:
            warnings.append(
                f"{side.name}: {alone} of {len(side.completions)} replies have no partner to the same problem and are "
                "left out of the differences"
            )
    for side in sides:
        truncated = side.metrics["truncated"].mean if "truncated" in side.metrics else None
        if truncated and truncated > MUCH_TRUNCATED:
            warnings.append(f"{side.name}: {truncated:.0%} of the replies were cut off at the limit: raise max_tokens")
        unscored = side.metrics[ACCURACY_STRICT].unscored
        if unscored:
            warnings.append(f"{side.name}: {unscored} replies could not be scored and are left out")
    return warnings


def _chosen_moment(side: Evaluation, stopped: StoppedEarly) -> str:
    return (
        f"{side.name}: its run stopped at look {stopped.look} of {stopped.looks}, when its own difference was clear "
        "(--stop-early), so its means may lie a little too far from its baseline's: for exact ones run it without "
        "--stop-early"
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
