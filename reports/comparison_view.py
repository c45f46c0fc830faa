"""A page of any number of stored runs, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.statistics import headline
from harness.statistics.metric_rows import MetricRow
from harness.statistics.pairs import NOT_RECORDED, shown, uneven, uneven_by_configuration
from harness.types import ACCURACY_STRICT, Comparison, Evaluation
from reports import explorer
from reports.explorer import Explorer
from reports.rows import metric_row, problems_of, sentence


@dataclass(frozen=True)
class Against:
    """One side compared with the baseline: its lines, its sentence, its rows and its warnings."""

    name: str
    lines: tuple[str, ...]
    verdict: str
    rows: tuple[MetricRow, ...]
    warnings: tuple[str, ...]
    flips: dict[str, int]
    flips_of: str


@dataclass(frozen=True)
class ComparisonView:
    """Everything that a page of several runs shows; `sides` stand best first, over the `problems` that all have."""

    verdict: str
    metric: str
    baseline: str
    sides: tuple[Evaluation, ...]
    problems: int
    standings: tuple[MetricRow, ...]
    against: tuple[Against, ...]
    settings: dict[str, tuple[str, ...]]
    in_order: tuple[str, ...]
    explorer: Explorer
    command: str

    @property
    def sections(self) -> dict[str, str]:
        """The titles in the page's contents bar, by anchor."""
        pairs = {f"pair-{number}": each.name for number, each in enumerate(self.against, 1)}
        ends = {"settings": "What differs", "replies-list": "Replies", "run": "How it was made"}
        return {"standings": "Standings"} | pairs | ends


def build(
    sides: Sequence[Evaluation], ranked: Sequence[Evaluation], comparisons: Sequence[Comparison], command: str
) -> ComparisonView:
    """The view; `comparisons` are of the first side, the baseline, and each of the others, in their order.

    `ranked` are the same sides over the problems that all of them have.
    """
    baseline, *others = sides
    ranked = sorted(ranked, key=lambda side: -(side.metrics[ACCURACY_STRICT].mean or 0.0))
    names = [name for name in baseline.metrics if all(name in side.metrics for side in ranked)]
    against = tuple(_against(baseline, other, each) for other, each in zip(others, comparisons, strict=True))
    return ComparisonView(
        verdict=_verdict(baseline, against),
        metric=ACCURACY_STRICT,
        baseline=baseline.name,
        sides=tuple(ranked),
        problems=problems_of(ranked[0]),
        standings=tuple(metric_row(name, ranked, {}) for name in names),
        against=against,
        settings=_differing_settings(sides),
        in_order=tuple(side.name for side in sides),
        explorer=explorer.pack(sides),
        command=command,
    )


def _against(baseline: Evaluation, other: Evaluation, comparison: Comparison) -> Against:
    differences = comparison.metrics
    rows = tuple(metric_row(name, (baseline, other), differences) for name in differences)
    about = headline.of_replies(other.settings) if uneven_by_configuration(baseline, other) else ()
    return Against(
        other.name,
        (*headline.lines(differences, comparison.gain), *about),
        sentence(differences[ACCURACY_STRICT]),
        rows,
        comparison.warnings,
        comparison.flips,
        headline.FLIPS_OF_PAIRS if uneven(baseline, other) else "",
    )


def _verdict(baseline: Evaluation, against: Sequence[Against]) -> str:
    """One sentence over all: who beats the baseline, who falls behind it."""
    if len(against) == 1:
        return f"{against[0].name} against {baseline.name}. " + against[0].verdict
    verdicts = {each.name: row.verdict for each in against for row in each.rows if row.name == ACCURACY_STRICT}
    parts = []
    for title, word in (("Better", "better"), ("Worse", "worse")):
        names = [name for name, verdict in verdicts.items() if verdict == word]
        if names:
            parts.append(f"{title} than {baseline.name}: {', '.join(names)}.")
    unclear = [name for name, verdict in verdicts.items() if verdict not in ("better", "worse")]
    if unclear:
        parts.append(f"No evidence either way: {', '.join(unclear)}.")
    return " ".join((*parts, "By the share of replies that are correct and in the required format."))


def _differing_settings(sides: Sequence[Evaluation]) -> dict[str, tuple[str, ...]]:
    """The settings that are not the same on all sides, each side's value."""
    settings = [_settings(side) for side in sides]
    keys = dict.fromkeys(key for each in settings for key in each)
    rows = {key: tuple(shown(each.get(key, NOT_RECORDED)) for each in settings) for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _settings(side: Evaluation) -> dict[str, Any]:
    versions = {f"version of {name}": value for name, value in (side.provenance.get("versions") or {}).items()}
    adapter = side.provenance.get("adapter") or {}
    return side.settings | versions | {"adapter": ", ".join(str(value)[:12] for value in adapter.values())}
