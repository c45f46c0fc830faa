"""Metrics as people see them: every table of metrics, on a terminal, a page or in a notebook, shows these rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Any

from harness.metric_definitions import MetricDefinition, definition_of
from harness.statistics.pairs import with_variant
from harness.types import NO_EVIDENCE, NOT_COMPARED, Difference, MetricValue

COLUMNS = ("difference", "95 % interval", "verdict")
MARKS = {"better": "good", "worse": "bad"}
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class MetricRow:
    """One metric, as texts: each side's mean with what stands beside it, and how the last side differs from the first.

    `pair_means` are the first and the last side's over the pairs that the difference is of; they and the
    difference are empty where the two are not compared. `mark` is the verdict's class on a page.
    """

    name: str
    about: str = ""
    sides: tuple[tuple[str, str], ...] = ()
    pair_means: tuple[str, ...] = ()
    delta: str = ""
    interval: str = ""
    p: str = ""
    verdict: str = ""
    mark: str = ""
    note: str = ""

    @property
    def means(self) -> tuple[str, ...]:
        """Each side's mean; the first's and the last's over their pairs, where they are compared."""
        means = tuple(mean for mean, _ in self.sides)
        return (self.pair_means[0], *means[1:-1], self.pair_means[1]) if self.pair_means else means

    @property
    def cells(self) -> tuple[str, str, str]:
        """What stands under COLUMNS."""
        return self.delta or "unknown", self.interval, self.verdict or NOT_COMPARED


def metric_row(
    name: str,
    sides: Sequence[Mapping[str, MetricValue]],
    settings: Sequence[Mapping[str, Any]],
    difference: Difference | None = None,
) -> MetricRow:
    """The row of a metric: every side's value of it, by name of the metric, and its difference where there is one.

    `settings` are the sides': rewards are named with their variant, and tokens say where a server counts them.
    """
    definition, title = definition_of(name), with_variant(name, settings)
    if name == "tokens" and any(map(_counted_elsewhere, settings)):
        definition = replace(definition, about=f"{definition.about}, as the server counts")
    values = [side.get(name) for side in sides]
    shown = tuple(mean_and_interval(definition, value) for value in values)
    if difference and difference.delta is not None and _is_of_fewer(difference, values[0], values[-1]):
        first, last = ((mean, f"of {difference.n_pairs:,} pairs") for mean in pair_means(definition, difference))
        shown = (first, *shown[1:-1], last)
    return row_of(title, definition, shown, difference)


def all_rows(
    sides: Sequence[Mapping[str, MetricValue]],
    settings: Sequence[Mapping[str, Any]],
    differences: Mapping[str, Difference],
) -> dict[str, MetricRow]:
    """The row of every metric that a side has, by name."""
    names = dict.fromkeys(name for side in sides for name in side)
    return {name: metric_row(name, sides, settings, differences.get(name)) for name in names}


def row_of(
    title: str,
    definition: MetricDefinition,
    sides: tuple[tuple[str, str], ...],
    difference: Difference | None,
) -> MetricRow:
    """The row of any metric, one of lm-eval's too; `sides` is each side's mean and what stands beside it."""
    if difference is None:
        return MetricRow(title, definition.about, sides)
    note = " ".join(_notes(definition, difference))
    if difference.delta is None:
        return MetricRow(title, definition.about, sides, note=note)
    return MetricRow(
        title,
        definition.about,
        sides,
        pair_means(definition, difference),
        delta=definition.show(difference.delta, signed=True),
        interval=definition.interval(difference.low, difference.high, signed=True),
        p=_p(difference.p_adjusted),
        verdict=UNCHANGED if is_unchanged(definition, difference) else difference.verdict,
        mark=MARKS.get(difference.verdict, "none"),
        note=note,
    )


def mean_and_interval(definition: MetricDefinition, value: MetricValue | None) -> tuple[str, str]:
    """A mean, and its interval with how many replies are left out of it; empty texts where there is no value."""
    if value is None:
        return "", ""
    unscored = f"{value.unscored} unscored" if value.unscored else ""
    beside = ", ".join(filter(None, (definition.interval(value.low, value.high), unscored)))
    return definition.show(value.mean), beside


def pair_means(definition: MetricDefinition, difference: Difference) -> tuple[str, str]:
    """The means of the two sides that a difference is of."""
    return definition.show(difference.before), definition.show(difference.after)


def difference_cells(definition: MetricDefinition, difference: Difference) -> tuple[str, ...]:
    """Both sides' means over their pairs, and what stands under COLUMNS."""
    return *pair_means(definition, difference), *row_of("", definition, (), difference).cells


def is_unchanged(definition: MetricDefinition, difference: Difference) -> bool:
    """Whether a metric is 0 % of the replies on both sides, or 100 %: then no reply changed at all."""
    return definition.percent and difference.before == difference.after and difference.before in (0, 1)


def takes_more(difference: Difference) -> bool:
    """Whether more problems than there are would tell a difference of the size that was seen."""
    return bool(difference.needed and difference.needed > (difference.problems or difference.n_pairs))


def _counted_elsewhere(settings: Mapping[str, Any]) -> bool:
    """Whether a server said how many tokens the completions have: with its tokenizer they are counted here."""
    return settings.get("engine") == "openai" and "tokenizer" not in settings.get("engine_args", {})


def _is_of_fewer(difference: Difference, first: MetricValue | None, last: MetricValue | None) -> bool:
    """Whether a difference is of fewer replies than the means of its two sides, so that those are not its ends.

    Where it is of problems, several replies of one side may be behind each, and their mean is its end all the same.
    """
    ends = (first, difference.before), (last, difference.after)
    known = [(value, end) for value, end in ends if value and value.mean is not None]
    return any(value.n != difference.n_pairs and not isclose(value.mean, end) for value, end in known)


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"


def _notes(definition: MetricDefinition, difference: Difference) -> list[str]:
    """What the verdict alone does not say."""
    notes = [f"{difference.note}."] if difference.note else []
    if difference.one_sided:
        notes.append(_on_one_side(definition, difference))
    if difference.verdict == NO_EVIDENCE and definition.better:
        if takes_more(difference):
            notes.append(f"a difference of this size takes about {difference.needed:,} problems.")
        elif difference.detectable:
            smallest = definition.show(difference.detectable, signed=True)[1:]
            notes.append(f"so many problems can tell a difference of {smallest}.")
    return notes


def _on_one_side(definition: MetricDefinition, difference: Difference) -> str:
    """How many replies are scored on one side only, and how far they could move the difference."""
    left_out = f"{difference.one_sided} replies are scored on one side only and left out"
    if difference.lowest is None:
        return f"{left_out}."
    lowest, highest = definition.interval(difference.lowest, difference.highest, signed=True).split(" … ")
    return f"{left_out}; however they were scored, the difference would lie between {lowest} and {highest}."
