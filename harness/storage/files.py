"""Files that survive a kill: journals, read up to their last whole line, and files that are written whole or not."""

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.memory import fits_memory
from harness.storage.links import real_path

HASHED_BYTES = 2**25
TEMPORARY = re.compile(r"\.\d+\.part$")


def whole_lines(path: Path) -> bytes:
    """A journal up to its last whole line; empty if there is no such file."""
    with fits_memory(path):
        return b"".join(path.read_bytes().rpartition(b"\n")[:2]) if path.exists() else b""


def read_journal(path: Path) -> list[dict]:
    """The rows of a journal's whole lines. Raises UserError with the line's number if one is not a JSON object."""
    if not path.exists():
        return []
    with fits_memory(path), path.open("rb") as lines:
        whole = (line for line in lines if line.endswith(b"\n"))
        return [_row(line, f"{path}:{number}") for number, line in enumerate(whole, start=1) if line != b"\n"]


def _row(line: bytes, where: str) -> dict:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: broken line ({error}): delete it, then run again") from error
    return row


def read_steps(path: Path) -> list[dict]:
    """The rows of a training journal, each with its step. Raises UserError if one has no step."""
    rows = read_journal(path)
    if not all(type(row.get("step")) is int for row in rows):
        raise UserError(f"{path}: a line has no step: delete it, then run again")
    return rows


def cut_journal(path: Path, step: int) -> list[dict]:
    """Cut a training journal to the rows up to the step that training continues from, and return those rows.

    From step 0 it starts over, the probe before the first step included, so no row stays.
    """
    rows = [row for row in read_steps(path) if step and row["step"] <= step]
    write_lines(path, rows)
    return rows


def read_json(path: Path, fix: str = "give another run folder, or use --fresh") -> Any:
    """The content of a JSON file. Raises UserError with the fix if it cannot be read."""
    try:
        with fits_memory(path):
            return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}): {fix}") from error


def write_json(path: Path, value: object) -> None:
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """The whole text of a JSON file."""
    return json.dumps(value, indent=2) + "\n"


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    write_text(path, "".join(json_line(row) for row in rows))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name, sync, and rename, so that a reader sees the old file or the new one.

    Follows a link. A pipe or a terminal is written to directly. What killed processes left under such names is removed.
    Raises UserError if the folder was moved or removed meanwhile.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    path = real_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, FileNotFoundError) and not path.parent.exists():
            raise UserError(f"{path}: its folder was moved or removed meanwhile: give its new place") from error
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def temporary_of(path: Path) -> Path:
    """The temporary name of a file or folder that this process writes; those that killed processes left are removed."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        process = left.name.removeprefix(f"{path.name}.").removesuffix(".part")
        if process.isdecimal() and not lives(int(process)):
            shutil.rmtree(left, ignore_errors=True)
            with suppress(OSError):
                left.unlink()
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def finished_names(folder: Path) -> set[str]:
    """The names in a folder, but for temporary ones, which a killed process may have left."""
    return {each.name for each in folder.iterdir() if not TEMPORARY.search(each.name)}


def lives(process: int) -> bool:
    """Whether this machine has a process of that number that has not ended."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    with suppress(OSError):  # without /proc
        # One that has ended keeps its number until it is waited for, which nobody may do in a container.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits.

    In parts large enough that a thread which imports libraries meanwhile, and holds the interpreter for 5 ms behind
    each, hardly slows it.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        part = memoryview(bytearray(min(HASHED_BYTES, os.fstat(file.fileno()).st_size or 1)))
        while size := file.readinto(part):
            digest.update(part[:size])
    return digest.hexdigest()


def cached_sha256(path: Path) -> str:
    """The SHA-256 of a file, computed once as long as its size and modification time stay the same."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def json_line(row: dict) -> str:
    """One line of JSON; what JSON has no type for (a timestamp from a table) becomes its text."""
    return json.dumps(row, ensure_ascii=True, default=str) + "\n"


def cache_folder() -> Path:
    """The folder of everything that another run can use again: `$HARNESS_CACHE`, else ~/.cache/harness."""
    return Path(os.environ.get("HARNESS_CACHE") or _home() / ".cache" / "harness")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir())
