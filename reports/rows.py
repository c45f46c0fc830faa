"""Metrics and their differences as a table shows them, and the sentence over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.types import Evaluation, Metric, measure

HEADLINE = ("accuracy_strict", "format_strict", "accuracy_flexible", "language_ratio")
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
    shown = tuple(mean_and_interval(name, side.metrics.get(name), side.name) for side in sides)
    difference = differences.get(name)
    if difference is None or difference["delta"] is None:
        return Row(name, measure(name).about, shown)
    return difference_row(name, shown, difference)


def mean_and_interval(name: str, metric: Metric | None, side: str) -> tuple[str, str]:
    """A mean, and its interval with what is left out of it."""
    if metric is None:
        return "", ""
    kind = measure(name)
    interval = f"{kind.show(metric.low)} … {kind.show(metric.high)}" if metric.low is not None else ""
    left_out = f", {metric.unscored} unscored" if metric.unscored else ""
    return kind.show(metric.mean), f"{interval}{left_out}" or side


def difference_row(name: str, shown: tuple[tuple[str, str], ...], difference: Mapping) -> Row:
    kind = measure(name)
    low, high = (kind.show(difference[end], signed=True) for end in ("low", "high"))
    return Row(
        name,
        kind.about,
        shown,
        delta=kind.show(difference["delta"], signed=True),
        interval=f"{low.removesuffix(' pp')} … {high}",
        p=f"= {difference['p_adjusted']:.3f}" if difference["p_adjusted"] >= 0.001 else "< 0.001",
        verdict=difference["verdict"],
        mark=MARKS.get(difference["verdict"], "none"),
        note=" ".join(_notes(name, difference)),
    )


def _notes(name: str, difference: Mapping) -> list[str]:
    """What the verdict alone does not say."""
    notes = [f"{difference['note']}."] if difference["note"] else []
    if difference["p_adjusted"] >= 0.05 and measure(name).better:
        if difference["needed"]:
            notes.append(f"A difference of this size takes about {difference['needed']:,} problems.")
        elif difference["detectable"]:
            notes.append(f"This run can tell {measure(name).show(difference['detectable'], signed=True)[1:]}.")
    return notes


def sentence(difference: Mapping) -> str:
    """The verdict on being right and in the layout."""
    show = measure(HEADLINE[0]).show
    if difference["delta"] is None:
        return "The two sides have no graded problem in common."
    delta, low, high = (show(difference[key], signed=True) for key in ("delta", "low", "high"))
    word = {"better": "Better:", "worse": "Worse:"}.get(difference["verdict"], "No evidence either way:")
    said = (
        f"{word} right and in the layout went from {show(difference['before'])} to {show(difference['after'])} "
        f"({delta}, 95 % interval {low.removesuffix(' pp')} to {high}, {difference['n_pairs']} pairs)."
    )
    if word.startswith("No") and difference["needed"]:
        said += f" It would take about {difference['needed']:,} problems to tell a difference of this size from chance."
    return said
