"""A run against a baseline: gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.results import Json
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.statistics.gate import Verdict
    from harness.types import Evaluation

REGRESSED = 3


def gate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder (its last side), or a side: RUN/before.")],
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="RUN_OR_FILE", help="What RUN is compared with: a run or a file."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option("--tolerance", metavar="METRIC=X", help="How much worse a metric may be (the usual four: 0.05)."),
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.", show_default=False)] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Append Markdown, for GITHUB_STEP_SUMMARY.", show_default=False)
    ] = None,
    write_baseline: Annotated[
        Path | None, typer.Option("--write-baseline", help="Write RUN as a baseline (.json).", show_default=False)
    ] = None,
    json: Json = False,
) -> int:
    """Check for regressions; exit 0: passed, 3: worse, or too few problems to tell, 2: not comparable."""
    if (baseline is None) == (write_baseline is None):
        raise UserError("give either --baseline RUN_OR_FILE to gate RUN, or --write-baseline FILE to make one of it")
    if write_baseline:
        if tolerance or junit or summary:
            raise UserError("--tolerance, --junit and --summary are for --baseline: leave them out")
        return _write(run, write_baseline, json)
    from harness.configure import key_values
    from harness.statistics import gate as gates
    from harness.storage.files import write_text
    from reports import gate as gate_reports

    named = {name: gates.tolerance(name, text) for name, text in key_values("--tolerance", tolerance or []).items()}
    side, held_against = _side(run), _side(baseline)
    if _place(run, side) == _place(baseline, held_against):
        raise UserError(f"--baseline {baseline}: that is RUN itself: give another run, another side of RUN or a file")
    verdict = gates.judge(side, held_against, named)
    if junit:
        write_text(junit, gate_reports.junit(verdict))
    if summary:
        _append(summary, gate_reports.markdown(verdict))
    _print(verdict, json)
    return 0 if verdict.result == "holds" else REGRESSED


def _write(run: str, path: Path, json: bool) -> int:
    from harness.evaluation import sides

    if path.suffix != ".json":
        raise UserError(f"--write-baseline {path}: give a .json file's name")
    if path.exists():
        # A UserError where it is anything else: nothing of a user's is written over.
        sides.read_baseline(path)
    side = _side(run)
    sides.save_baseline(side, path)
    replies = len(side.completions)
    said = f"{path}: {replies} replies of {side.name}; gate a run with --baseline {path}"
    show.line(said, json, {"baseline": str(path), "side": side.name, "replies": replies})
    return 0


def _place(given: str, side: "Evaluation") -> Path:
    """Where a side lies, however it was named: a run folder's last side is a folder in it."""
    path = Path(given).resolve()
    return path / side.name.rpartition("/")[2] if (path / "run.json").is_file() else path


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(text)


def _side(place: str) -> "Evaluation":
    """The side at a place. UserError: none, or one of a run that is not finished."""
    from harness.evaluation import sides

    if Path(place).suffix == ".jsonl":
        raise UserError(f"{place}: samples are not gated: give a run folder, a side of one or a baseline .json")
    return sides.last_of(place)


def _print(verdict: "Verdict", json: bool) -> None:
    from harness.statistics.gate import HEAD

    for note in verdict.notes:
        show.note(note)
    print(show.printable(verdict.title))
    show.table(HEAD, [each.cells for each in verdict.metrics])
    for reason in verdict.reasons:
        print(show.printable(reason))
    show.line(verdict.line, json, verdict.as_dict())
