"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.console.markdown import log_line, one_line
from harness.errors import redacted
from harness.memory import fits_memory

SECONDS_BETWEEN_LINES = 10.0
# The terminal, while the process's own streams go into a log.
_terminal: TextIO | None = None


class Bar(Protocol):
    def advance(self, by: int = 1, note: str = "") -> None:
        """Count `by` more as done; `note` is shown beside the count."""


class _Silent:
    def advance(self, by: int = 1, note: str = "") -> None:
        pass


class _Terminal:
    def __init__(self, progress: Progress, total: int, done: int):
        self._progress = progress
        self._task = progress.add_task("", total=total, completed=done, note="")

    def advance(self, by: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=by, note=note)


class _Lines:
    def __init__(self, console: Console, title: str, total: int, done: int):
        self._console, self._title, self._total, self._done = console, title, total, done
        self._last = time.monotonic()

    def advance(self, by: int = 1, note: str = "") -> None:
        self._done += by
        if self._done >= self._total or time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._console.print(f"{self._title} {self._done}/{self._total} {note}".rstrip(), markup=False)


def note(text: str, quiet: bool = False) -> None:
    """Print one line about what starts and may take a while."""
    if not quiet:
        print(log_line(redacted(text)), file=_terminal or sys.stderr, flush=True)


@contextmanager
def libraries_into(path: Path) -> Iterator[None]:
    """Write all that libraries print into a file, in whatever way they print; this module still prints to the terminal.

    Secrets are removed from the file at the end, and after a kill when the next process starts.
    """
    global _terminal
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    _redact(path)
    with path.open("ab") as file, open(os.dup(2), "w", errors="replace") as terminal:
        _terminal = terminal
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            # On a full disk a part of the log is lost, and not the error.
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            for ours, stream in ((stdout, 1), (stderr, 2)):
                os.dup2(ours, stream)
                os.close(ours)
            _terminal = None
            _redact(path)


def _redact(path: Path) -> None:
    with suppress(OSError), fits_memory(path):
        log = path.read_text(encoding="utf-8", errors="surrogateescape")
        if (redacted_log := redacted(log)) != log:
            path.write_text(redacted_log, encoding="utf-8", errors="surrogateescape")


@contextmanager
def bar(title: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Bar]:
    """Progress of `total` things under `title`, of which `done` are done before the start."""
    title = one_line(title)
    console = Console(file=_terminal or sys.stderr, soft_wrap=True, highlight=False, force_jupyter=False)
    if quiet:
        yield _Silent()
    elif not console.is_terminal:
        yield _Lines(console, title, total, done)
    else:
        columns = (
            TextColumn(f"{title:<12}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as progress:
            yield _Terminal(progress, total, done)
