"""The rows of a page's tables, the sentence over them, and how a model is named."""

from collections.abc import Mapping, Sequence

from harness.metric_definitions import definition_of
from harness.statistics import headline, metric_rows
from harness.statistics.metric_rows import MetricRow, takes_more
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, NO_EVIDENCE, Difference, Evaluation

HEADLINE = (ACCURACY_STRICT, "format_strict", ACCURACY_FLEXIBLE, "language_ratio")


def metric_row(name: str, sides: Sequence[Evaluation], differences: Mapping[str, Difference]) -> MetricRow:
    """A row with every side that has the metric, and its difference where there is one."""
    settings = [side.settings for side in sides]
    return metric_rows.metric_row(name, [side.metrics for side in sides], settings, differences.get(name))


def model_title(name: str, checkpoint: str) -> str:
    """A recipe's name, with its checkpoint where that is another word."""
    return name if checkpoint in ("", name) else f"{name} ({checkpoint})"


def problems_of(side: Evaluation) -> int:
    """How many problems a side answered."""
    return len({completion.problem_id for completion in side.completions})


def sentence(difference: Difference, name: str = ACCURACY_STRICT) -> str:
    """The verdict on a metric in words: correct and in the required format, unless another is named."""
    definition, about = definition_of(name), headline.ABOUT[name] if name == ACCURACY_STRICT else name
    if difference.delta is None:
        return "The two sides have no scored problem in common."
    interval = definition.interval(difference.low, difference.high, signed=True)
    word = {"better": "Better", "worse": "Worse"}.get(difference.verdict, "No evidence either way")
    if metric_rows.is_unchanged(definition, difference):
        word = "Unchanged"
    before, after = metric_rows.pair_means(definition, difference)
    text = (
        f"{word}: {about} went from {before} to {after} ({definition.show(difference.delta, signed=True)}, 95 % "
        f"interval {interval or 'unknown'}, {difference.n_pairs} pairs)."
    )
    if difference.verdict == NO_EVIDENCE and takes_more(difference):
        text += f" It would take about {difference.needed:,} problems to tell a difference of this size from chance."
    return text
