"""A stored run for a notebook: pandas frames, the comparison, and the table and plot to look at."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.console.markdown import one_line
from harness.errors import UserError
from harness.findings import stopped_early
from harness.memory import read_text
from harness.metric_definitions import definition_of
from harness.statistics import headline
from harness.statistics.compare import compare
from harness.statistics.metric_rows import COLUMNS, MetricRow, all_rows
from harness.statistics.pairs import columns
from harness.storage.run_folder import Run
from harness.types import ACCURACY_STRICT, Comparison, Completion, Difference, Evaluation, MetricValue, OverSeeds, Score

if TYPE_CHECKING:
    import pandas

NUMBERS = {int: "int64", float | None: "float64", int | None: "Int64"}
PLOTS = {
    "differences": "How much each metric changed, with 95 % intervals",
    "metrics": "Each metric on each side, with 95 % intervals",
}


def load_run(path: str | Path) -> "StoredRun":
    """Load the finished sides of a run folder.

    Raises UserError if there is none, or if one cannot be read.
    """
    run = Run.open(Path(path))
    sides = run.evaluations()
    if not sides or not all(side.scores for side in sides):
        raise UserError(f"{path}: no finished evaluation with its replies: run `harness run` or `harness score` first")
    return StoredRun(run.path, sides)


class Page:
    """An HTML file as a notebook shows it: inside the cell, `height` pixels high."""

    def __init__(self, path: Path, height: int = 800):
        self.path, self.height = path, height

    def _repr_html_(self) -> str:
        page = read_text(self.path, "utf-8")
        return f'<iframe srcdoc="{escape(page)}" style="width: 100%; height: {self.height}px; border: 0"></iframe>'


class StoredRun:
    """A run folder as it was when it was loaded; each frame is made when it is first used.

    `sides` are the finished ones, in order; `settings` is the configuration that all share. In the frames, texts that
    are not valid Unicode have ? for what is not; what is unknown or not scored is missing.
    """

    def __init__(self, path: Path, sides: Sequence[Evaluation]):
        self.path = path
        self.sides = tuple(sides)
        self.settings = sides[0].settings

    @cached_property
    def replies(self) -> "pandas.DataFrame":
        """A row per reply, side after side, each in the dataset's order.

        side, problem_id, index (of several replies to a problem), kind, question, answer (the true one), reply,
        n_tokens, finish_reason (stop or length).
        """
        import pandas

        completions = [completion for side in self.sides for completion in side.completions]
        return pandas.DataFrame(
            {
                **self._places(completions),
                "kind": _texts(each.kind for each in completions),
                "question": _texts(each.question for each in completions),
                "answer": _texts(each.answer for each in completions),
                "reply": _texts(each.reply for each in completions),
                "n_tokens": [each.n_tokens for each in completions],
                "finish_reason": _texts(each.finish_reason for each in completions),
            }
        )

    @cached_property
    def scores(self) -> "pandas.DataFrame":
        """A row per reply, in the order of `replies`.

        side, problem_id, index, extracted, language, and a column per metric.
        """
        import pandas

        scores = [score for side in self.sides for score in side.scores]
        return pandas.DataFrame(
            {
                **self._places(scores),
                "extracted": _texts(each.extracted for each in scores),
                "language": _texts(each.language for each in scores),
                **columns(scores),
            }
        )

    @cached_property
    def metrics(self) -> "pandas.DataFrame":
        """A row per side and metric: mean, its 95 % interval from low to high, n scored replies, unscored ones."""
        import pandas

        rows = {(side.name, name): metric for side in self.sides for name, metric in side.metrics.items()}
        return _frame(MetricValue, list(rows.values()), pandas.MultiIndex.from_tuples(rows, names=["side", "metric"]))

    @cached_property
    def comparison(self) -> Comparison | None:
        """The last side against the first, from the stored scores; None where there is one side only."""
        return compare(*self.sides) if len(self.sides) > 1 else None

    @cached_property
    def differences(self) -> "pandas.DataFrame":
        """A row per metric of `comparison`, its columns the fields of a `Difference`; no rows where there is none."""
        import pandas

        rows = self.comparison.metrics if self.comparison else {}
        return _frame(Difference, list(rows.values()), pandas.Index(_texts(rows), name="metric"))

    @cached_property
    def seeds(self) -> "pandas.DataFrame":
        """A row per metric, over several trainings: a column per seed with its adapter's difference, then the fields of
        `OverSeeds`; no rows for a run of one training."""
        import pandas

        over = Run.open(self.path).seeds() or {}
        index = pandas.Index(_texts(over), name="metric")
        columns = dict.fromkeys(seed for each in over.values() for seed in each.deltas)
        single = {int(seed): [each.deltas.get(seed) for each in over.values()] for seed in columns}
        return pandas.DataFrame(single, index=index, dtype="float64").join(
            _frame(OverSeeds, list(over.values()), index)
        )

    @property
    def page(self) -> Page:
        """The run's report, to be shown in a notebook. Raises UserError if it has none."""
        report = Run(self.path).report
        if not report.is_file():
            raise UserError(f"{self.path}: has no report: run `harness report {self.path}`")
        return Page(report)

    def __repr__(self) -> str:
        cells = zip(self._head, self._cells(ACCURACY_STRICT), strict=True)
        return f"{one_line(self.path)}\n{ACCURACY_STRICT}: {', '.join(one_line(' '.join(each)) for each in cells)}"

    def _repr_html_(self) -> str:
        rows = [(row.name, *self._cells(name)) for name, row in self._rows.items()]
        notes = [f"{row.name}: {row.note}" for row in self._rows.values() if row.note]
        table = _table(("metric", *self._head), rows)
        return _paragraphs(repr(self).splitlines()) + table + _paragraphs([*self._notes(), *notes]) + self._plot()

    @property
    def _head(self) -> tuple[str, ...]:
        """What stands over `_cells`."""
        names = tuple(side.name for side in self.sides)
        return *names, *(COLUMNS if self.comparison else ("95 % interval",))

    @cached_property
    def _rows(self) -> dict[str, MetricRow]:
        """Every metric that a side has, as people see it."""
        differences = self.comparison.metrics if self.comparison else {}
        return all_rows([side.metrics for side in self.sides], [self.settings], differences)

    def _cells(self, name: str) -> tuple[str, ...]:
        """Each side's mean, then the difference, its interval and verdict; with one side, its mean's interval."""
        row = self._rows[name]
        if self.comparison:
            return *row.means, *row.cells
        value = self.sides[0].metrics[name]
        return *row.means, definition_of(name).interval(value.low, value.high)

    def _notes(self) -> list[str]:
        """Warnings and remarks on the whole comparison."""
        if not self.comparison:
            return []
        stopped = stopped_early(self.sides[-1].provenance)
        asked = *headline.of_replies(self.settings), *((headline.of_looks(stopped),) if stopped else ())
        return [*self.comparison.warnings, *asked]

    def _plot(self) -> str:
        """The report's plot as an image that needs no file; empty where the run has no report."""
        for name, about in PLOTS.items():
            file = self.path / "report" / "plots" / f"{name}.png"
            if file.is_file():
                png = b64encode(file.read_bytes()).decode("ascii")
                return f'<img alt="{about}" style="max-width: 100%" src="data:image/png;base64,{png}">'
        return ""

    def _places(self, rows: Sequence[Completion] | Sequence[Score]) -> dict:
        """The columns that identify a row's reply."""
        return {
            "side": _texts(side.name for side in self.sides for _ in side.completions),
            "problem_id": _texts(each.problem_id for each in rows),
            "index": [each.index for each in rows],
        }


def _texts(values: Iterable[str | None]) -> "pandas.api.extensions.ExtensionArray":
    import pandas

    texts = [None if value is None else value.encode("utf-8", "replace").decode("utf-8") for value in values]
    return pandas.array(texts, dtype=pandas.StringDtype(na_value=np.nan))


def _frame(
    kind: type, rows: Sequence[MetricValue | Difference | OverSeeds], index: "pandas.Index"
) -> "pandas.DataFrame":
    """A frame with a column per field of `kind` that is one value."""
    import pandas

    values_by_field = {}
    for field in fields(kind):
        if field.type == dict[str, float]:
            continue
        values = [getattr(row, field.name) for row in rows]
        number = NUMBERS.get(field.type)
        values_by_field[field.name] = pandas.array(values, dtype=number) if number else _texts(values)
    return pandas.DataFrame(values_by_field, index=index)


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
