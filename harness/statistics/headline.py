"""A comparison in three plain lines: the format, the correct answers, and how much of the gain is format alone."""

from collections.abc import Mapping

from harness.findings import StoppedEarly
from harness.metric_definitions import METRIC_DEFINITIONS, MetricDefinition, definition_of
from harness.statistics.metric_rows import UNCHANGED, is_unchanged, pair_means
from harness.types import (
    ACCURACY_FLEXIBLE,
    ACCURACY_STRICT,
    DESCRIBED,
    NO_EVIDENCE,
    NOT_COMPARED,
    Difference,
    MetricValue,
    OverSeeds,
)

LAYOUT = "format_strict"
ABOUT_ONE_ADAPTER = (
    "This is about this one adapter: another training by the same recipe, with another seed, may come out otherwise."
)
ABOUT = {
    LAYOUT: "the share of replies in the required format",
    ACCURACY_FLEXIBLE: "the share of correct answers",
    ACCURACY_STRICT: "the share of replies that are correct and in the required format",
}
FLIPS_OF_PAIRS = "counted over the replies that have the same index on both sides"
OUTCOMES = {
    "better": "better",
    "worse": "worse",
    NO_EVIDENCE: "too little to tell from chance",
    DESCRIBED: "not tested",
    NOT_COMPARED: "not compared",
}


def of_replies(settings: Mapping) -> tuple[str, ...]:
    """How many replies each side of a run is the mean of, where those are not as many on both."""
    adapted, adapters = settings.get("samples", 1), settings.get("training_seeds")
    base = settings.get("baseline_samples") or adapted
    if base == adapted and not adapters:
        return ()
    of_adapted = f"{_mean_of(adapted)} of each of {adapters} adapters" if adapters else _mean_of(adapted)
    return (
        f"The baseline is {_mean_of(base)} per problem, every other side {of_adapted}; the difference of a problem "
        "is between the two.",
    )


def lines(differences: Mapping[str, Difference], gain: Mapping[str, float] | None) -> tuple[str, ...]:
    """The lines on two sides; `gain` is Comparison's, None where no pair is scored, or from an older program."""
    texts = [_difference("In the required format", differences.get(LAYOUT))]
    texts.append(_difference("Correct answers, in whatever format", differences.get(ACCURACY_FLEXIBLE)))
    texts.append(_share_of_layout(gain) if gain else _difference("Both at once", differences.get(ACCURACY_STRICT)))
    tested = [name for name, each in differences.items() if each.verdict not in (DESCRIBED, NOT_COMPARED)]
    # A run's own primary metric has a line whatever it is.
    if len(tested) == 1 and tested[0] not in (LAYOUT, ACCURACY_FLEXIBLE):
        texts.append(_difference(tested[0], differences[tested[0]], definition_of(tested[0])))
    return tuple(texts)


def of_looks(stopped: StoppedEarly) -> str:
    """At which look a comparison stopped, and why it may."""
    if not stopped.is_early:
        return (
            f"All {stopped.of:,} problems were evaluated: at none of the earlier looks, {stopped.looks} in all, was "
            f"the difference in {stopped.metric} clear. Its interval and its p-value allow for the looks."
        )
    return (
        f"Stopped at look {stopped.look} of {stopped.looks}, after {stopped.problems:,} of {stopped.of:,} problems: "
        f"the difference in {stopped.metric} was clear enough by then. The limits were fixed before the first reply "
        "(O'Brien-Fleming), so looking early does not raise the share of false verdicts: its interval and its p-value "
        "allow for the looks. A difference that stops a run tends to be a little too large."
    )


def verdicts_by(primary: str, stopped: StoppedEarly | None) -> str:
    """Which metrics have a verdict, and by which p-value."""
    if not primary:
        return (
            "p is corrected by Holm over the metrics with a verdict that vary: correct answers, the required format, "
            "both at once, and the language where another than English is asked for. The verdict follows the corrected "
            "p; all else is described."
        )
    only = f"Only {primary} has a verdict, as the run named it before the first reply; all else is described."
    return only + " Its interval and its p allow for the looks; those of the others do not." if stopped else only


def lines_of_one(metrics: Mapping[str, MetricValue]) -> tuple[str, ...]:
    """The lines on one side alone."""
    named = {
        LAYOUT: "In the required format",
        ACCURACY_FLEXIBLE: "Correct answers, in whatever format",
        ACCURACY_STRICT: "Both at once",
    }
    return tuple(
        f"{about}: {metrics[name].mean:.1%} of {metrics[name].n:,} replies."
        for name, about in named.items()
        if name in metrics and metrics[name].mean is not None
    )


def of_seeds(name: str, seeds: OverSeeds, adapters: Difference) -> tuple[str, ...]:
    """Two sentences on several trainings: one about these adapters, whose difference is `adapters`, one about the
    recipe."""
    if seeds.delta is None:
        return ()
    kind, what, each = definition_of(name), ABOUT.get(name, name), list(seeds.deltas.values())
    of_these = kind.interval(adapters.low, adapters.high, signed=True) or "not known"
    of_recipe = kind.interval(seeds.low, seeds.high, signed=True) or "not known"
    return (
        f"These {len(each)} adapters change {what} by {kind.show(adapters.delta, signed=True)} on average (95 % "
        f"interval {of_these} over problems): {OUTCOMES.get(adapters.verdict, adapters.verdict)}. The single ones: "
        f"{', '.join(kind.show(delta, signed=True) for delta in each)}.",
        f"The recipe: another training, with another seed, is expected to change {what} by "
        f"{kind.show(seeds.delta, signed=True)} (95 % interval {of_recipe} over seeds and problems): "
        f"{OUTCOMES.get(seeds.verdict, seeds.verdict)}. From seed to seed that varies by "
        f"{_unsigned(kind, seeds.spread)} (standard deviation).",
    )


def _difference(about: str, difference: Difference | None, kind: MetricDefinition = METRIC_DEFINITIONS[LAYOUT]) -> str:
    if difference is None or difference.delta is None:
        return f"{about}: nothing to compare."
    before, after = pair_means(kind, difference)
    outcome = UNCHANGED if is_unchanged(kind, difference) else OUTCOMES.get(difference.verdict, difference.verdict)
    delta = difference.delta
    changed = _points(delta) if kind.percent else kind.show(delta, signed=True)
    return f"{about}: {before} before, {after} after ({changed}): {outcome}."


def _share_of_layout(gain: Mapping[str, float]) -> str:
    whole, layout, answers = (gain[key] for key in ("delta", "layout", "answers"))
    if not round(whole, 9):
        return "Correct and in the required format: as many replies as before."
    word = "gain" if whole > 0 else "loss"
    return (
        f"How much of the {word} is format: replies that are correct and in the required format changed by "
        f"{_points(whole)}, of which {_points(layout)} are format alone (the answer was correct on both sides) and "
        f"{_points(answers)} are answers."
    )


def _unsigned(kind: MetricDefinition, spread: float) -> str:
    return kind.show(spread, signed=True).removeprefix("+")


def _mean_of(count: int) -> str:
    return f"the mean of {count} replies" if count > 1 else "one reply"


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
