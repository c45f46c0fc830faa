"""The metrics of a model's runs over time, as points of small plots that the page's template draws."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.metric_definitions import definition_of
from reports.run_index import COLUMNS, Entry

WIDTH, HEIGHT, MARGIN = 320, 130, 30


@dataclass(frozen=True)
class Point:
    """A run's place in a plot, and the heights of its first and last side; None where it has one side."""

    x: float
    before: float
    after: float | None
    title: str


@dataclass(frozen=True)
class History:
    """One metric over the runs of one model and dataset, from the oldest to the newest."""

    metric: str
    about: str
    points: tuple[Point, ...]
    first: str
    last: str

    def line(self, side: str) -> str:
        """The points of a side as SVG's polyline takes them."""
        heights = [(point.x, getattr(point, side)) for point in self.points]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in heights if y is not None)


def histories(entries: Sequence[Entry]) -> dict[tuple[str, str], tuple[History, ...]]:
    """The plots of all that has two runs or more, by model and data; the newest run's first, as `entries` are."""
    groups = defaultdict(list)
    for entry in entries:
        groups[entry.what].append(entry)
    drawn = {
        what: tuple(made for name in COLUMNS if (made := _history(name, runs[::-1]))) for what, runs in groups.items()
    }
    return {what: plots for what, plots in drawn.items() if plots}


def height(share: float) -> float:
    """Where a share from 0 to 1 is, from the top of a plot."""
    return HEIGHT - MARGIN - share * (HEIGHT - 1.5 * MARGIN)


def _history(name: str, runs: Sequence[Entry]) -> History | None:
    known = [run for run in runs if name in run.means]
    if len(known) < 2:
        return None
    step = (WIDTH - 2 * MARGIN) / (len(known) - 1)
    points = tuple(_point(MARGIN + place * step, name, run) for place, run in enumerate(known))
    first, last = (f"{run.when:%Y-%m-%d}" for run in (known[0], known[-1]))
    return History(name, definition_of(name).about, points, first, last)


def _point(x: float, name: str, run: Entry) -> Point:
    before, after = run.means[name]
    show = definition_of(name).show
    shares = " → ".join(show(share) for share in (before, after) if share is not None)
    title = f"{run.name}, {run.when:%Y-%m-%d %H:%M}: {shares}"
    return Point(x, height(before), None if after is None else height(after), title)
