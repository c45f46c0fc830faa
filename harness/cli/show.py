"""What the commands print: results on stdout, all else on stderr."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.cli.tables import entry_lines, sentence_lines, table_lines, terminal_width
from harness.console.markdown import log_line
from harness.errors import UserError, redacted
from harness.metric_definitions import MetricDefinition, definition_of
from harness.types import ACCURACY_STRICT, Completion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    from harness.config import Configuration
    from harness.storage.run_folder import Run
    from harness.types import Comparison, Evaluation

FAULTS_SHOWN = 10
TOY = "it is a toy of 2.3 million parameters that knows short word problems alone"


def note(text: str) -> None:
    _print_lines([printable(redacted(text))], sys.stderr)


def say(text: str) -> None:
    """One sentence of a result on stdout."""
    _print_lines(sentence_lines(printable(text), terminal_width()))


def _print_lines(lines: "Sequence[str]", file: "TextIO | None" = None) -> None:
    try:
        print(*map(log_line, lines), sep="\n", file=file)
    except BrokenPipeError:
        # Without its number, by which click would end the program with exit code 1: a reader that has seen enough is
        # no error.
        raise BrokenPipeError from None


def runs_toy(config: "Configuration") -> bool:
    """Whether the embedded model itself answers, and no server or file of replies."""
    from harness.config import EMBEDDED
    from harness.engines import WITHOUT_CHECKPOINT

    return config.checkpoint == EMBEDDED and config.engine not in WITHOUT_CHECKPOINT


def nothing(text: str) -> None:
    """Say nothing."""


def line(text: str, as_json: bool, value: dict[str, Any]) -> None:
    """One result: as text, or as JSON."""
    # What reads a job's log takes ##[ for a command anywhere in a line.
    print(json.dumps(value).replace("##", "#\\u0023") if as_json else printable(text))


def results(run: "Run", as_json: bool) -> None:
    """What a run comes to: three lines, the table of its metrics, what the report notes, and where that is."""
    from harness.stages import SIDES
    from reports import run_view

    sides = {side: run.metrics(side) for side in SIDES if run.record.is_done(side)}
    has_comparison = len(sides) > 1 and (run.path / "comparison.json").is_file()
    comparison = run.comparison() if has_comparison else run_view.NO_COMPARISON
    _unreadable_rows(run, next(iter(sides)))
    extra_tasks = run.extra_task_differences()
    if extra_tasks:
        _unpaired_tasks(extra_tasks)
    if not as_json:
        _print_results(run, sides, comparison, extra_tasks)
        return
    metrics = {side: {name: asdict(each) for name, each in found.items()} for side, found in sides.items()}
    result = {"run": str(run.path), "report": str(run.report), "metrics": metrics, "comparison": comparison["metrics"]}
    line("", True, result | ({"also": extra_tasks["tasks"]} if extra_tasks else {}))


def _print_results(
    run: "Run", sides: dict[str, dict[str, Any]], comparison: dict[str, Any], extra_tasks: dict[str, Any] | None
) -> None:
    from harness.statistics import headline
    from harness.statistics.metric_rows import COLUMNS, all_rows
    from harness.types import Difference, from_row
    from reports import notes, seed_view

    settings = run.record.configuration
    differences = {name: from_row(Difference, each) for name, each in comparison["metrics"].items()}
    first = next(iter(sides.values()))
    for told in headline.lines(differences, comparison.get("gain")) if differences else headline.lines_of_one(first):
        say(told)
    rows = all_rows([*sides.values()], [settings], differences).values()
    table(
        ("metric", *sides, *(COLUMNS if differences else ())),
        [(row.name, *row.means, *(row.cells if differences else ())) for row in rows],
    )
    known = run.record.provenance
    provenances = {side: known.get(side, {}) for side in sides}
    row_notes = (f"{row.name}: {row.note}" for row in rows if row.note)
    for told in (*row_notes, *notes.warnings(run, provenances, comparison),
                 *notes.of_sides(provenances, settings), *seed_view.sentences_of(run, differences)):  # fmt: skip
        say(told)
    if extra_tasks:
        _print_extra_tasks(extra_tasks)
    if run.report.is_file():
        print(printable(f"report: {run.report}"))


def _print_extra_tasks(comparison: dict[str, Any]) -> None:
    from harness.statistics.metric_rows import COLUMNS, difference_cells
    from harness.types import Difference, from_row

    rows = []
    for task, metrics in comparison["tasks"].items():
        for title, each in metrics.items():
            definition = from_row(MetricDefinition, comparison["measures"][task][title])
            difference = from_row(Difference, each)
            rows.append((f"{task}: {title}", *difference_cells(definition, difference)))
    table(("lm-eval", "before", "after", *COLUMNS), rows)


def _unpaired_tasks(comparison: dict[str, Any]) -> None:
    for task, reasons in comparison.get("unpaired", {}).items():
        for title, reason in reasons.items():
            note(f"lm-eval {task}: {title} is not compared: {reason}")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A plain table on stdout, in the terminal's width."""
    cells = [tuple(map(printable, row)) for row in (head, *rows)]
    _print_lines(["", *table_lines(cells[0], cells[1:], terminal_width()), ""])


def entries(rows: list[tuple[str, str]]) -> None:
    """Pairs of a name and a text on stdout, the texts below each other."""
    _print_lines(entry_lines([(printable(name), printable(text)) for name, text in rows], terminal_width()))


def standings(sides: "Sequence[Evaluation]", comparisons: "Sequence[Comparison]") -> None:
    """Each side's headline metric and its difference from the first, best first."""
    from harness.statistics.metric_rows import COLUMNS, row_of

    definition = definition_of(ACCURACY_STRICT)
    cells = {
        side.name: row_of(ACCURACY_STRICT, definition, (), each.metrics[ACCURACY_STRICT]).cells
        for side, each in zip(sides[1:], comparisons, strict=True)
    }
    rows = []
    for side in sorted(sides, key=lambda side: -(side.metrics[ACCURACY_STRICT].mean or 0.0)):
        value = side.metrics[ACCURACY_STRICT]
        compared = cells.get(side.name, ("", "", "the baseline"))
        rows.append((side.name, definition.show(value.mean), str(value.n), *compared))
    table(("run", ACCURACY_STRICT, "replies", *COLUMNS), rows)


def means(
    rows: list[dict[str, float | None]], names: list[str], output: "Path", as_json: bool, variant: str | None = None
) -> None:
    """Print each score's mean over a file of rows, and how many rows have none; `variant` is of rewards."""
    summary = {}
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        summary[name] = {"mean": sum(values) / len(values) if values else None, "n": len(values)}
        summary[name]["unscored"] = len(rows) - len(values)
    if as_json:
        named = {"variant": variant} if variant else {}
        line("", True, {"output": str(output), "rows": len(rows), **named, "scores": summary})
        return
    table(
        ("score", "mean", "n", "unscored"),
        [
            (
                f"{name} ({variant})" if variant else name,
                "unknown" if each["mean"] is None else f"{each['mean']:.3f}",
                str(each["n"]),
                str(each["unscored"]),
            )
            for name, each in summary.items()
        ],
    )
    print(printable(f"{len(rows)} rows: {output}"))


def stop_at_fault(named: list[str], strict: bool) -> None:
    """Raises UserError if `strict` and a row cannot be scored completely."""
    if named and strict:
        raise UserError(f"{named[0]}: fix the row, or leave --strict out")


def faults(named: list[str]) -> None:
    """Name the rows that cannot be scored completely."""
    for fault in named[:FAULTS_SHOWN]:
        note(f"unscorable: {fault}")
    if len(named) > FAULTS_SHOWN:
        note(f"and {len(named) - FAULTS_SHOWN} more; --strict stops at the first")


def refuse_output(path: "Path") -> None:
    """Raises UserError if rows of JSON cannot or should not be written to a path; called before any work is done."""
    if path.exists() and not path.is_file():
        raise UserError(f"--output {path}: not a file: give a .jsonl file's name")
    if path.suffix in (".csv", ".json", ".parquet"):
        raise UserError(f"--output {path}: the rows are written as JSON lines: give a .jsonl file's name")


class Replies:
    """Prints one line per reply: n/N, right or not, running accuracy, prediction, truth; k/N with the last one."""

    def __init__(self, run: "Run", file: "TextIO"):
        from harness.data import datasets

        dataset = datasets.evaluation_problems(run.config)
        self.config, self.equality, self.file = run.config, dataset.equality, file
        self.total = len(dataset.problems) * run.config.samples_of(adapted=run.config.adapter is not None)
        self.seen = self.scored = self.right = 0

    def __call__(self, completion: Completion) -> None:
        from harness.evaluation.scoring import score_all

        score = score_all([completion], self.config, self.equality)[0]
        value = score.scores["accuracy_strict"]
        self.seen += 1
        self.scored += value is not None
        self.right += value == 1
        mark = {1: "right", 0: "wrong", None: "unscored"}[value]
        if value == 0 and score.scores["accuracy_flexible"] == 1:
            mark = "right, not in the required format"
        print(
            f"{self.seen}/{self.total} {mark} {self.right / max(self.scored, 1):.1%} "
            f"predicted {printable(score.extracted)} truth {printable(completion.answer)}",
            file=self.file,
        )
        if self.seen == self.total:
            print(f"{self.right}/{self.scored} correct and in the required format", file=self.file)


def printable(text: str | None) -> str:
    """A model's or dataset's text on one line that acts neither on a terminal nor on what reads a log."""
    return "nothing" if text is None else log_line(text)


def _unreadable_rows(run: "Run", side: str) -> None:
    provenance = run.record.provenance.get(side, {})
    for reason, count in provenance.get("skipped_rows", {}).items():
        note(f"rows left out: {count} ({reason})")
    if provenance.get("unanswered_rows"):
        note(f"problems without a true answer: {provenance['unanswered_rows']} (their accuracy is not scored)")
