"""What each metric means, how it is shown, and whether more of it is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricDefinition:
    """What a metric says of one completion.

    `share`: each completion scores 0 or 1; `percent`: its mean is shown in percent; `better`: 1 where more is
    better, -1 where less is, 0 where neither.
    """

    about: str
    share: bool = True
    percent: bool = True
    better: int = 1

    def show(self, value: float | None, signed: bool = False) -> str:
        """A mean as text; `signed`: a difference, of percents in percentage points (pp)."""
        if value is None:
            return "unknown"
        if signed:
            return f"{100 * value:+.1f} pp" if self.percent else f"{value:+.2f}"
        return f"{value:.1%}" if self.percent else f"{value:.2f}"

    def interval(self, low: float | None, high: float | None, signed: bool = False) -> str:
        """Both ends as text, of a difference where `signed`; empty where they are not known."""
        if low is None or high is None:
            return ""
        return f"{self.show(low, signed).removesuffix(' pp')} … {self.show(high, signed)}"


METRIC_DEFINITIONS = {
    "format_strict": MetricDefinition("the whole reply is exactly in the required format"),
    "format_tags": MetricDefinition("share of the format's tags that occur exactly once", share=False),
    "accuracy_strict": MetricDefinition("correct and in the required format"),
    "accuracy_flexible": MetricDefinition("the final answer is correct, wherever it stands"),
    "language_ratio": MetricDefinition("the reasoning is in the target language"),
    "language_raw": MetricDefinition("the whole reply is labelled as the target language"),
    "truncated": MetricDefinition("cut off at the token limit", better=-1),
    "tokens": MetricDefinition("tokens per reply", share=False, percent=False, better=0),
}


def definition_of(name: str) -> MetricDefinition:
    """The definition of a metric by its name; any unknown one is a reward function's mean."""
    if name.startswith("pass@"):
        return MetricDefinition(
            f"at least one of {name.removeprefix('pass@')} replies has the correct answer", share=False
        )
    if name.startswith("maj@"):
        return MetricDefinition(
            f"the answer that most of {name.removeprefix('maj@')} replies give is correct", share=False
        )
    return METRIC_DEFINITIONS.get(name) or MetricDefinition(
        f"mean of {name.removeprefix('reward/')}", share=False, percent=False
    )
