"""What the commands print: results on stdout, all else on stderr."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from harness.console.markdown import one_line
from harness.errors import UserError, redacted
from harness.types import FLIPS_BY, Completion, MetricDefinition, definition_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.storage.run_folder import Run
    from harness.types import Comparison, Evaluation, MetricValue

FAULTS_SHOWN = 10


def note(text: str) -> None:
    print(printable(redacted(text)), file=sys.stderr)


def say(text: str) -> None:
    """One line of a result on stdout."""
    try:
        print(printable(text))
    except BrokenPipeError:
        # click ends the program with exit code 1 where it sees the error of the pipe itself.
        _closed()


def nothing(text: str) -> None:
    """Say nothing."""


def line(text: str, as_json: bool, value: dict[str, Any]) -> None:
    """One result: as text, or as the machine-readable last line."""
    print(json.dumps(value) if as_json else printable(text))


def results(run: "Run", as_json: bool) -> None:
    """What a run comes to: three lines, the table of its metrics, what the report notes, and where that is."""
    from harness.statistics import headline
    from harness.statistics.pairs import with_variant
    from harness.storage.stages import SIDES
    from reports import notes, run_view, seed_view

    sides = {side: run.metrics(side) for side in SIDES if run.record.is_done(side)}
    has_comparison = len(sides) > 1 and (run.path / "comparison.json").is_file()
    comparison = run.comparison() if has_comparison else run_view.NO_COMPARISON
    compared, settings = comparison["metrics"], run.record.configuration
    _unreadable_rows(run, next(iter(sides)))
    first = next(iter(sides.values()))
    for told in headline.lines(compared, comparison.get("gain")) if compared else headline.lines_of_one(first):
        say(told)
    table(
        ("metric", *sides, *(("difference", "95 % interval", "verdict") if compared else ())),
        [
            (
                with_variant(name, [settings]),
                *_means(name, list(sides.values()), compared.get(name)),
                *_difference(compared.get(name), definition_of(name)),
            )
            for name in dict.fromkeys(name for side in sides.values() for name in side)
        ],
    )
    known = run.record.provenance
    provenances = {side: known.get(side, {}) for side in sides}
    for told in (*_row_notes(compared, settings), *notes.warnings(run, provenances, comparison),
                 *notes.of_sides(provenances, settings)):  # fmt: skip
        say(told)
    for told in seed_view.sentences_of(run, compared):
        say(told)
    also = _also(run)
    if run.report.is_file():
        say(f"report: {run.report}")
    if as_json:
        metrics = {side: {name: asdict(each) for name, each in found.items()} for side, found in sides.items()}
        result = {"run": str(run.path), "report": str(run.report), "metrics": metrics, "comparison": compared}
        line("", True, result | ({"also": also} if also else {}))


def _row_notes(compared: dict[str, dict], settings: dict[str, Any]) -> list[str]:
    from harness.statistics.pairs import with_variant
    from reports import rows

    noted = {name: " ".join(rows.notes(definition_of(name), each)) for name, each in compared.items()}
    return [f"{with_variant(name, [settings])}: {note}" for name, note in noted.items() if note]


def _also(run: "Run") -> dict[str, Any]:
    """What tasks of lm-eval say before and after, printed and returned; nothing where the run has not both."""
    found = run.extra_task_differences()
    if found is None:
        return {}
    rows = []
    for task, metrics in found["tasks"].items():
        for title, each in metrics.items():
            kind = MetricDefinition(**found["measures"][task][title])
            means = (kind.show(each[side]) for side in ("before", "after"))
            rows.append((f"{task}: {title}", *means, *_difference(each, kind)))
    table(("lm-eval", "before", "after", "difference", "95 % interval", "verdict"), rows)
    for task, reasons in found.get("unpaired", {}).items():
        for title, reason in reasons.items():
            note(f"lm-eval {task}: {title} is not compared: {reason}")
    return found["tasks"]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A plain table on stdout, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(map(printable, head)):
        drawn.add_column(name, justify="left" if place == 0 or name == "verdict" else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(printable, row))
    # Names of runs and metrics are anybody's: what looks like rich's markup in them is text.
    console = Console(width=200, highlight=False, markup=False)
    # A reader that has seen enough is no error; rich would end the program with exit code 1.
    console.on_broken_pipe = _closed
    console.print(drawn)


def standings(sides: "Sequence[Evaluation]", comparisons: "Sequence[Comparison]") -> None:
    """Each side's headline metric and its difference from the first, best first."""
    found = {side.name: each.metrics[FLIPS_BY] for side, each in zip(sides[1:], comparisons, strict=True)}
    kind = definition_of(FLIPS_BY)
    rows = []
    for side in sorted(sides, key=lambda side: -(side.metrics[FLIPS_BY].mean or 0.0)):
        metric, difference = side.metrics[FLIPS_BY], found.get(side.name)
        compared = _difference(asdict(difference), kind) if difference else ("", "", "the baseline")
        rows.append((side.name, kind.show(metric.mean), str(metric.n), *compared))
    table(("run", FLIPS_BY, "replies", "difference", "95 % interval", "verdict"), rows)


def _closed() -> NoReturn:
    raise BrokenPipeError


def means(
    rows: list[dict[str, float | None]], names: list[str], output: "Path", as_json: bool, variant: str | None = None
) -> None:
    """What a file of scored rows comes to: each score's mean, and how many rows have none; `variant` is of rewards."""
    made = {}
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        made[name] = {"mean": sum(values) / len(values) if values else None, "n": len(values)}
        made[name]["unscored"] = len(rows) - len(values)
    if as_json:
        named = {"variant": variant} if variant else {}
        line("", True, {"output": str(output), "rows": len(rows), **named, "scores": made})
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
            for name, each in made.items()
        ],
    )
    print(printable(f"{len(rows)} rows: {output}"))


def stop_at_fault(found: list[str], strict: bool) -> None:
    """With `strict`, a UserError for the first row that cannot be judged whole."""
    if found and strict:
        raise UserError(f"{found[0]}: mend the row, or leave --strict out")


def faults(found: list[str]) -> None:
    """Rows that cannot be judged whole, named."""
    for fault in found[:FAULTS_SHOWN]:
        note(f"unscorable: {fault}")
    if len(found) > FAULTS_SHOWN:
        note(f"and {len(found) - FAULTS_SHOWN} more; --strict stops at the first")


def refuse_output(path: "Path") -> None:
    """A UserError where rows of JSON cannot or should not be written to a path, before any work is done."""
    if path.exists() and not path.is_file():
        raise UserError(f"--output {path}: not a file: give a .jsonl file's name")
    if path.suffix in (".csv", ".json", ".parquet"):
        raise UserError(f"--output {path}: the rows are written as JSON lines: give a .jsonl file's name")


def plan(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        line("", True, made)
        return
    for key, value in made.items():
        if isinstance(value, dict):
            print(printable(f"{key}:"))
            for name, each in value.items():
                print(printable(f"  {name} = {each}"))
        else:
            print(printable(f"{key}: {', '.join(value) if isinstance(value, list) else value}"))


class Replies:
    """A line a reply: n/N, right or not, running accuracy, prediction, truth; k/N with the last one."""

    def __init__(self, run: "Run"):
        from harness.data import datasets

        dataset = datasets.evaluation_problems(run.config)
        self.config, self.equality = run.config, dataset.equality
        self.total = len(dataset.problems) * run.config.samples_of(adapted=run.config.adapter is not None)
        self.seen = self.graded = self.right = 0

    def __call__(self, completion: Completion) -> None:
        from harness.evaluation.scoring import score_all

        score = score_all([completion], self.config, self.equality)[0]
        value = score.scores["accuracy_strict"]
        self.seen += 1
        self.graded += value is not None
        self.right += value == 1
        mark = {1: "right", 0: "wrong", None: "unscored_text"}[value]
        if value == 0 and score.scores["accuracy_flexible"] == 1:
            mark = "right, out of layout"
        print(
            f"{self.seen}/{self.total} {mark} {self.right / max(self.graded, 1):.1%} "
            f"predicted {printable(score.extracted)} truth {printable(completion.answer)}"
        )
        if self.seen == self.total:
            print(f"{self.right}/{self.graded} right in the layout")


def printable(text: str | None) -> str:
    """A model's or dataset's text on one line, without control characters."""
    return "nothing" if text is None else one_line(text)


def _means(name: str, sides: "list[dict[str, MetricValue]]", difference: dict | None) -> tuple[str, ...]:
    """Each side's mean; the first's and the last's over the pairs that their difference is of, where there is one."""
    means = [side[name].mean if name in side else None for side in sides]
    if difference and difference["delta"] is not None:
        means = [difference["before"], *means[1:-1], difference["after"]]
    return tuple(
        "" if name not in side else definition_of(name).show(mean) for side, mean in zip(sides, means, strict=True)
    )


def _difference(difference: dict | None, kind: MetricDefinition) -> tuple[str, ...]:
    if not difference:
        return ()
    interval = kind.interval(difference["low"], difference["high"], signed=True)
    return kind.show(difference["delta"], signed=True), interval, difference["verdict"]


def _unreadable_rows(run: "Run", side: str) -> None:
    provenance = run.record.provenance.get(side, {})
    for reason, count in provenance.get("skipped_rows", {}).items():
        note(f"rows left out: {count} ({reason})")
    if provenance.get("unanswered_rows"):
        note(f"problems without a true answer: {provenance['unanswered_rows']} (their accuracy is not graded)")
