"""All runs below a folder, each as a row of plain texts: from run.json, comparison.json and metrics.json alone.

Folders may come from elsewhere: no link to a folder is followed, and a file whose link leads out is not read.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.errors import UserError
from harness.metric_definitions import definition_of
from harness.stages import SIDES, title_of
from harness.statistics.metric_rows import MetricRow, metric_row, row_of
from harness.storage.links import is_inside
from harness.storage.run_folder import Run
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Difference, MetricValue, from_row
from reports.rows import model_title

Means = tuple[float, float | None]
COLUMNS = (ACCURACY_FLEXIBLE, "format_strict", ACCURACY_STRICT)


@dataclass(frozen=True)
class Entry:
    """One run, as texts. `means` is the first and the last side's mean of each of COLUMNS, from 0 to 1; the last is
    None where there is one side.

    `address` leads from the page to the run's report, empty where it has none; `word` is the run in a shell command,
    empty where it cannot be compared; `state` is empty for a finished run.
    """

    name: str
    address: str
    word: str
    when: datetime
    model: str
    data: str
    replies: int
    state: str
    metrics: tuple[MetricRow, ...]
    primary: MetricRow | None
    means: Mapping[str, Means]

    @property
    def what(self) -> tuple[str, str]:
        """What runs have in common whose figures are drawn over time."""
        return self.model, self.data

    def row(self, name: str) -> MetricRow | None:
        return next((row for row in self.metrics if row.name == name), None)


@dataclass(frozen=True)
class Unreadable:
    """A run that cannot be read, and why."""

    name: str
    reason: str


def find(folder: Path) -> Iterator[Path | Unreadable]:
    """Every folder at or below `folder` with a run.json; what is inside of a run is the run's."""
    failed: list[OSError] = []
    for place, inner, files in os.walk(folder, onerror=failed.append):
        inner.sort()
        if "run.json" in files:
            inner.clear()
            yield Path(place)
    yield from (Unreadable(_name(Path(each.filename), folder), each.strerror) for each in failed)


def read(place: Path, folder: Path) -> Entry | Unreadable:
    """The run in `place`, below `folder`."""
    try:
        return _entry(Run(place), folder)
    except UserError as error:
        return Unreadable(_name(place, folder), str(error).removeprefix(f"{place}{os.sep}"))


def _entry(run: Run, folder: Path) -> Entry:
    _refuse_leaving(run.path / "run.json", folder)
    record = run.record.read()
    settings = record["configuration"]
    sides = [side for side in SIDES if run.record.is_done(side)]
    differences, metrics = _figures(run, sides, folder)
    primary = str(settings.get("primary") or "")
    known = [name for name in COLUMNS if name in differences or name in metrics]
    return Entry(
        name=_name(run.path, folder),
        address=_address(run.report, folder),
        word=_word(run.path) if sides else "",
        when=_when(run, sides),
        model=model_title(*(str(settings.get(key, "")) for key in ("name", "checkpoint"))),
        data=f"{settings.get('dataset', '')}, {settings.get('format', '')}",
        replies=_replies(differences, metrics),
        state=_state(run),
        metrics=tuple(_row(each, differences, metrics, settings) for each in known),
        primary=_row(primary, differences, metrics, settings) if primary in differences.keys() - COLUMNS else None,
        means={each: means for each in known if (means := _means(each, differences, metrics))},
    )


def _figures(run: Run, sides: list[str], folder: Path) -> tuple[Mapping[str, Difference], Mapping[str, MetricValue]]:
    """The differences of a run's sides; without them the metrics of its first side."""
    if len(sides) > 1 and (run.path / "comparison.json").is_file():
        _refuse_leaving(run.path / "comparison.json", folder)
        return {name: from_row(Difference, each) for name, each in run.comparison()["metrics"].items()}, {}
    if not sides:
        return {}, {}
    _refuse_leaving(run.path / sides[0] / "metrics.json", folder)
    return {}, run.metrics(sides[0])


def _refuse_leaving(file: Path, folder: Path) -> None:
    """Raises UserError if a link leads to a file outside of the folder, or if there is none."""
    if not is_inside(file, folder):
        raise UserError(f"{file}: a link that leaves the folder, not followed")
    if not file.is_file():
        raise UserError(f"{file}: not a file")


def _row(
    name: str, differences: Mapping[str, Difference], metrics: Mapping[str, MetricValue], settings: Mapping[str, Any]
) -> MetricRow:
    if name in differences:
        return row_of(name, definition_of(name), (), differences[name])
    return metric_row(name, [metrics], [settings])


def _means(name: str, differences: Mapping[str, Difference], metrics: Mapping[str, MetricValue]) -> Means | None:
    if name not in differences:
        return None if metrics[name].mean is None else (metrics[name].mean, None)
    difference = differences[name]
    return None if difference.delta is None else (difference.before, difference.after)


def _replies(differences: Mapping[str, Difference], metrics: Mapping[str, MetricValue]) -> int:
    counts = [each.n_pairs for each in differences.values()] + [each.n for each in metrics.values()]
    return max(counts, default=0)


def _state(run: Run) -> str:
    """The stage that a run waits for, and its state."""
    stage = run.record.unfinished()
    if stage is None:
        return ""
    return f"{title_of(stage)}: {run.record.stages.get(stage, {}).get('state', 'not started')}"


def _when(run: Run, sides: list[str]) -> datetime:
    """When the last finished side had its replies; the time of run.json where that is not known."""
    known = run.generated(sides[-1]) if sides else None
    return known or datetime.fromtimestamp((run.path / "run.json").lstat().st_mtime, UTC)


def _address(file: Path, folder: Path) -> str:
    if not file.is_file() or not is_inside(file, folder):
        return ""
    return quote(os.fsencode(file.relative_to(folder)))


def _word(path: Path) -> str:
    """A path as a word of a shell command; empty where it has a character that a terminal or a page cannot show."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text) if text.isprintable() else ""


def _name(place: Path, folder: Path) -> str:
    return str(place.relative_to(folder))
