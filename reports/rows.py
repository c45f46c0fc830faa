"""Metrics and their differences as a table shows them, and the sentence over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose

from harness.statistics.pairs import with_variant
from harness.types import ANSWERED_BY, FLIPS_BY, NO_EVIDENCE, Evaluation, MetricDefinition, MetricValue, definition_of

HEADLINE = (FLIPS_BY, "format_strict", ANSWERED_BY, "language_ratio")
MARKS = {"better": "good", "worse": "bad"}


@dataclass(frozen=True)
class Row:
    """One metric: each side's mean and interval, and how the last differs from the first."""

    name: str
    about: str
    sides: tuple[tuple[str, str], ...]
    delta: str = ""
    interval: str = ""
    p: str = ""
    verdict: str = ""
    mark: str = ""
    note: str = ""


def metric_row(name: str, sides: Sequence[Evaluation], differences: Mapping[str, Mapping]) -> Row:
    """A row with every side that has the metric, and its difference where there is one."""
    shown = tuple(mean_and_interval(name, side.metrics.get(name)) for side in sides)
    difference, called = differences.get(name), with_variant(name, [side.settings for side in sides])
    if difference is None or difference["delta"] is None:
        return Row(called, definition_of(name).about, shown)
    if on_fewer(name, sides, difference):
        first, last = (
            (definition_of(name).show(difference[side]), f"of {difference['n_pairs']:,} pairs")
            for side in ("before", "after")
        )
        shown = (first, *shown[1:-1], last)
    return difference_row(called, shown, difference, definition_of(name))


def on_fewer(name: str, sides: Sequence[Evaluation], difference: Mapping) -> bool:
    """Whether a difference is of fewer replies than the means of its two sides, so that those are not its ends.

    Where it is of problems, several replies of one side may be behind each, and their mean is its end all the same.
    """
    ends = ((sides[0].metrics[name], difference["before"]), (sides[-1].metrics[name], difference["after"]))
    return any(metric.n != difference["n_pairs"] and not isclose(metric.mean, end) for metric, end in ends)


def mean_and_interval(name: str, metric: MetricValue | None) -> tuple[str, str]:
    """A mean, and its interval with what is left out of it."""
    if metric is None:
        return "", ""
    left_out = f"{metric.unscored} unscored" if metric.unscored else ""
    about = ", ".join(filter(None, (definition_of(name).interval(metric.low, metric.high), left_out)))
    return definition_of(name).show(metric.mean), about


def difference_row(name: str, shown: tuple[tuple[str, str], ...], difference: Mapping, kind: MetricDefinition) -> Row:
    return Row(
        name,
        kind.about,
        shown,
        delta=kind.show(difference["delta"], signed=True),
        interval=kind.interval(difference["low"], difference["high"], signed=True),
        p=_p(difference["p_adjusted"]),
        verdict=difference["verdict"],
        mark=MARKS.get(difference["verdict"], "none"),
        note=" ".join(notes(kind, difference)),
    )


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"


def notes(kind: MetricDefinition, difference: Mapping) -> list[str]:
    """What the verdict alone does not say."""
    notes = [f"{difference['note']}."] if difference.get("note") else []
    if difference.get("one_sided"):
        notes.append(_one_sided(kind, difference))
    if difference["verdict"] == NO_EVIDENCE and kind.better:
        if takes_more(difference):
            notes.append(f"a difference of this size takes about {difference['needed']:,} problems.")
        elif difference.get("detectable"):
            seen = kind.show(difference["detectable"], signed=True)[1:]
            notes.append(f"so many problems can tell a difference of {seen}.")
    return notes


def _one_sided(kind: MetricDefinition, difference: Mapping) -> str:
    """What is scored on one side only, and how far it could move the difference."""
    left_out = f"{difference['one_sided']} replies are scored on one side only and left out"
    if difference.get("lowest") is None:
        return f"{left_out}."
    ends = kind.interval(difference["lowest"], difference["highest"], signed=True).replace(" … ", " and ")
    return f"{left_out}; however they were scored, the difference would lie between {ends}."


def takes_more(difference: Mapping) -> bool:
    """Whether more problems than there are would tell a difference of the size that was seen."""
    problems = difference.get("problems") or difference["n_pairs"]
    return bool(difference.get("needed") and difference["needed"] > problems)


def sentence(difference: Mapping, name: str = FLIPS_BY) -> str:
    """The verdict on a metric, on being right and in the layout unless another is named."""
    kind, about = definition_of(name), "right and in the layout" if name == FLIPS_BY else name
    if difference["delta"] is None:
        return "The two sides have no graded problem in common."
    interval = kind.interval(difference["low"], difference["high"], signed=True).replace(" … ", " to ")
    word = {"better": "Better:", "worse": "Worse:"}.get(difference["verdict"], "No evidence either way:")
    said = (
        f"{word} {about} went from {kind.show(difference['before'])} to "
        f"{kind.show(difference['after'])} ({kind.show(difference['delta'], signed=True)}, 95 % interval "
        f"{interval or 'unknown'}, {difference['n_pairs']} pairs)."
    )
    if difference["verdict"] == NO_EVIDENCE and takes_more(difference):
        said += f" It would take about {difference['needed']:,} problems to tell a difference of this size from chance."
    return said
