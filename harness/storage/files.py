"""Files that survive a kill: an append-only journal of replies, and files that are whole or not there at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.types import Completion


class Journal:
    """completions.jsonl, open for appending; a line that a kill cut short is dropped first."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.truncate(path, len(whole_lines(path)))
        self._file = path.open("a", encoding="utf-8")

    def append(self, completions: Sequence[Completion]) -> None:
        """Write whole lines at once and see them to the disk."""
        if not completions:
            return
        self._file.write("".join(json_line(asdict(each)) for each in completions))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def whole_lines(path: Path) -> bytes:
    """A journal as far as its last whole line; nothing where there is no such file."""
    return b"".join(path.read_bytes().rpartition(b"\n")[:2]) if path.exists() else b""


def read_journal(path: Path) -> list[dict]:
    """The rows of a journal's whole lines."""
    rows = []
    for number, line in enumerate(whole_lines(path).split(b"\n"), start=1):
        if line:
            try:
                rows.append(json.loads(line))
                if not isinstance(rows[-1], dict):
                    raise ValueError("not an object")
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number}: broken line ({error}): delete it, then run again") from error
    return rows


def read_steps(path: Path) -> list[dict]:
    """The rows of a training's journal, each of one of its steps."""
    rows = read_journal(path)
    if not all(type(row.get("step")) is int for row in rows):
        raise UserError(f"{path}: a line names no step: delete it, then run again")
    return rows


def cut_journal(path: Path, step: int) -> list[dict]:
    """Cut a training's journal to the rows up to the step that it goes on from, and return those.

    From step 0 nothing is gone on from: the probe before the first step comes again too.
    """
    rows = [row for row in read_steps(path) if step and row["step"] <= step]
    write_lines(path, rows)
    return rows


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}): give another run folder, or start afresh") from error


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    write_text(path, "".join(json_line(row) for row in rows))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary name, sync, rename: a reader sees the old file or the new one. A link is followed.

    A pipe or a terminal is written to as it is.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)
        with suppress(OSError):
            temporary.unlink()
        raise


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_as_it_stands(path: Path) -> str:
    """The same, worked out once as long as the file keeps its size and time."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def json_line(row: dict) -> str:
    """One line of JSON; what JSON has no word for (a timestamp out of a table) as its text."""
    return json.dumps(row, ensure_ascii=True, default=str) + "\n"


def cache_folder() -> Path:
    """Where everything lies that another run can use again."""
    return Path(os.environ.get("HARNESS_CACHE") or _home() / ".cache" / "harness")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir())
