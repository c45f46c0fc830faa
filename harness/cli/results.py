"""Stored runs, without a model: score, report."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import show

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="A machine-readable last line.")]


def score(folder: RunFolder, json: Json = False) -> None:
    """Grade the stored replies of a run again."""
    from harness.cli.rooms import run_stage
    from harness.compare import compare_run
    from harness.evaluate import score as score_side
    from harness.store import Run

    run = Run.open(folder)
    for side in run.finished_sides():
        score_side(run, side, quiet=False)
    compare_run(run, run.evaluations())
    if run.report.is_file():
        run_stage(run, "report", quiet=True)
    show.results(run, json)


def report(folder: RunFolder, json: Json = False) -> None:
    """Draw the report of a run again, from its stored scores."""
    from harness.cli.rooms import run_stage
    from harness.store import Run

    run = Run.open(folder)
    run.finished_sides()
    run_stage(run, "report", quiet=True)
    show.results(run, json)
