"""The command gate: a run compared with a baseline, for CI."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import Json
from harness.errors import UserError
from harness.storage.links import real_path

if TYPE_CHECKING:
    from harness.statistics.gate import GateResult
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
    """Check for regressions; exit 0: every metric holds, 3: worse, or too few problems to tell, 2: not comparable."""
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

    tolerances = {
        name: gates.tolerance(name, text) for name, text in key_values("--tolerance", tolerance or []).items()
    }
    side, reference = _side(run), _side(baseline)
    if _place(run, side) == _place(baseline, reference):
        raise UserError(f"--baseline {baseline}: that is RUN itself: give another run, another side of RUN or a file")
    outcome = gates.check(side, reference, tolerances)
    if junit:
        write_text(junit, gate_reports.junit(outcome))
    if summary:
        _append(summary, gate_reports.markdown(outcome))
    _print(outcome, json)
    return 0 if outcome.result == "holds" else REGRESSED


def _write(run: str, path: Path, json: bool) -> int:
    from harness.evaluation import sides

    if path.suffix != ".json":
        raise UserError(f"--write-baseline {path}: give a .json file's name")
    if path.exists():
        # Raises if it is anything else: no other file of a user's is overwritten.
        sides.read_baseline(path)
    side = _side(run)
    sides.save_baseline(side, path)
    replies = len(side.completions)
    text = f"{path}: {replies} replies of {side.name}; gate a run with --baseline {path}"
    show.line(text, json, {"baseline": str(path), "side": side.name, "replies": replies})
    return 0


def _place(given: str, side: "Evaluation") -> Path:
    """The folder or file of a side, however it was named: a run folder's last side is a folder in it."""
    path = real_path(given)
    return path / side.name.rpartition("/")[2] if (path / "run.json").is_file() else path


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(text)


def _side(place: str) -> "Evaluation":
    """The side at a place. Raises UserError if there is none, or its run is not finished."""
    from harness.evaluation import sides

    if Path(place).suffix == ".jsonl":
        raise UserError(f"{place}: samples are not gated: give a run folder, a side of one or a baseline .json")
    return sides.last_of(place)


def _print(outcome: "GateResult", json: bool) -> None:
    from harness.statistics.gate import HEAD

    for note in outcome.notes:
        show.note(note)
    if not json:
        show.say(outcome.title)
        show.table(HEAD, [each.cells for each in outcome.metrics])
        for reason in outcome.reasons:
            show.say(reason)
    show.line(outcome.line, json, outcome.as_dict())
