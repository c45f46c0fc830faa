"""The command view: all runs below a folder on one page."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import Json, Lang, Quiet
from harness.cli.run import RUNS
from harness.errors import UserError
from reports.texts import ENGLISH

if TYPE_CHECKING:
    from reports.run_index import Entry, Unreadable

SECONDS_WITHOUT_PROGRESS = 2.0


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The folder of the runs (default: runs).", show_default=False)
    ] = RUNS,
    lang: Lang = ENGLISH,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a page of all runs below a folder, to compare, as index.html in it."""
    from reports import index_view, page, texts

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the folder that holds run folders")
    if (folder / "run.json").is_file():
        raise UserError(f"{folder}: a run itself: give the folder that holds it, or open its report/index.html")
    file = folder / "index.html"
    _refuse_others(file, index_view.MARKER)
    made = index_view.build(folder, _read_all(folder, quiet))
    with texts.using(lang):
        page.write_index(file, made)
    for each in made.unreadable:
        show.note(f"not readable: {each.name}: {each.reason}")
    result = {"page": str(file), "runs": len(made.entries), "unreadable": len(made.unreadable)}
    show.line(f"page: {file}", json, result)


def _refuse_others(file: Path, marker: str) -> None:
    """Raises UserError if the page would replace anything but an older one."""
    if not file.exists() and not file.is_symlink():
        return
    if file.is_file() and not file.is_symlink():
        with file.open("rb") as stream:
            if stream.read(len(marker)) == marker.encode():
                return
    raise UserError(f"{file}: not made by `harness view`: move it, or give another folder")


def _read_all(folder: Path, quiet: bool) -> "list[Entry | Unreadable]":
    """Every run below a folder; progress is shown once it takes long. Raises UserError if there is none."""
    from harness.console import progress
    from reports import run_index

    started, found, bar = time.monotonic(), [], None
    places = list(run_index.find(folder))
    if not places:
        raise UserError(f"{folder}: no run folder in it: run `harness run` first, or give another folder")
    with ExitStack() as stack:
        for done, place in enumerate(places):
            if bar is None and time.monotonic() - started > SECONDS_WITHOUT_PROGRESS:
                bar = stack.enter_context(progress.bar("runs", len(places), done, quiet))
            found.append(run_index.read(place, folder) if isinstance(place, Path) else place)
            if bar:
                bar.advance()
    return found
