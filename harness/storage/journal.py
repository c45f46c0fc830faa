"""The journal of a side's completions, written beside the engine: a kill loses the last quarter second at most."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Condition

from harness.storage import validation
from harness.storage.files import json_line, whole_lines
from harness.types import Completion

LOST_SECONDS = 0.25


class Journal:
    """completions.jsonl, open for appending; a last line that a kill cut short is removed first.

    A thread of its own writes and syncs what is handed over, in order, each time all that has come meanwhile. So a
    SIGKILL or a power failure loses what was handed over within LOST_SECONDS at most. Closing it loses nothing.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.truncate(path, len(whole_lines(path)))
        self._file = path.open("a", encoding="utf-8")
        self._unsaved: list[tuple[float, Sequence[Completion]]] = []
        self._is_closed = False
        self._changed = Condition()
        self._thread = ThreadPoolExecutor(1, "journal")
        self._writing = self._thread.submit(self._write_all)
        self._writing.add_done_callback(self._wake)

    def append(self, completions: Sequence[Completion]) -> None:
        """Hand over completions; wait only where the disk is so slow that more than LOST_SECONDS would be lost.

        Raises the OSError at which the thread stopped writing, and ValueError for what could not be read again.
        """
        for each in completions:
            validation.check(Completion, vars(each))
        with self._changed:
            if completions:
                self._unsaved.append((time.monotonic(), completions))
                self._changed.notify()
            self._changed.wait_for(lambda: self._writing.done() or self._keeps_up())
        if self._writing.done():
            self._writing.result()

    def _keeps_up(self) -> bool:
        return not self._unsaved or time.monotonic() - self._unsaved[0][0] < LOST_SECONDS

    def _write_all(self) -> None:
        """Write whole lines and sync them, until the journal is closed."""
        with self._file:
            while batches := self._next():
                # Completions hold plain values only; asdict() would copy them for more than the rest costs.
                rows = (vars(each) for _, completions in batches for each in completions)
                self._file.write("".join(map(json_line, rows)))
                self._file.flush()
                os.fsync(self._file.fileno())
                with self._changed:
                    del self._unsaved[: len(batches)]
                    self._changed.notify()

    def _next(self) -> list[tuple[float, Sequence[Completion]]]:
        """All that is not saved, as soon as there is any; nothing if the journal is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._unsaved or self._is_closed)
            return list(self._unsaved)

    def _wake(self, _: Future) -> None:
        with self._changed:
            self._changed.notify()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all is saved. Raises the OSError at which the thread stopped writing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        with self._thread:
            self._writing.result()
