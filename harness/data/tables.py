"""The rows of a user's .jsonl, .json, .csv and .parquet files and saved datasets; a broken row is named by its line."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

from harness.errors import UserError, cause
from harness.memory import fits_memory

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
LONGEST_FIELD = 2**31 - 1
# Files that `save_to_disk` of the `datasets` library writes into a dataset's folder.
SAVED = ("dataset_info.json", "state.json")


class BrokenRow(UserError):
    """A line that is no row: where it is, what is wrong with it, and the fix."""

    def __init__(self, where: str, cause: str, fix: str):
        super().__init__(f"{where}: {cause}: {fix}")
        self.where, self.cause = where, cause


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a .jsonl, .json, .csv or .parquet file or a saved dataset. Raises UserError for a broken line."""

    def refuse(error: BrokenRow) -> None:
        raise error

    return (row for _, row in named_rows(path, refuse))


def named_rows(path: Path, on_broken: Callable[[BrokenRow], None]) -> Iterator[tuple[str, dict]]:
    """Each row with its name, `file:line` (or the row's number where a file has no lines).

    A broken line of a .jsonl or .csv file goes to `on_broken` and is left out if that returns. Raises UserError for any
    other file that cannot be read.
    """
    suffix = path.suffix.lower()
    if is_saved_dataset(path):
        yield from ((f"{path}: row {number}", row) for number, row in enumerate(_saved(path), start=1))
        return
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: no regular file: give a {', '.join(SUFFIXES)} file")
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: cannot read '{path.suffix}': give a {', '.join(SUFFIXES)} file")
    try:
        if suffix == ".jsonl":
            yield from _jsonl(path, on_broken)
        elif suffix == ".csv":
            yield from _csv(path, on_broken)
        else:
            rows = {".json": _json, ".parquet": _parquet}[suffix](path)
            yield from ((f"{path}: row {number}", row) for number, row in enumerate(rows, start=1))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: give a file that can be read") from error


def _jsonl(path: Path, on_broken: Callable[[BrokenRow], None]) -> Iterator[tuple[str, dict]]:
    with fits_memory(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                name = f"{path}:{number}"
                try:
                    row = _object(line, name)
                except BrokenRow as error:
                    on_broken(error)
                else:
                    yield name, row


def _object(line: bytes, where: str) -> dict:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BrokenRow(where, "not UTF-8 text", "fix or delete the line") from error
    except (ValueError, RecursionError) as error:
        raise BrokenRow(where, f"broken JSON ({_cause(error)})", "fix or delete the line") from error
    if not isinstance(row, dict):
        raise BrokenRow(where, "not an object", 'write {"question": …, "answer": …}')
    return row


def _json(path: Path) -> Iterator[dict]:
    try:
        with fits_memory(path):
            rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(f"{path}:{line}: broken JSON ({_cause(error)}): fix the file") from error
    if isinstance(rows, dict):
        rows = rows.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f'{path}: not a list of objects: write [{{"question": …, "answer": …}}, …]')
    yield from rows


def _cause(error: Exception) -> str:
    return getattr(error, "msg", None) or str(error).split(":")[0]


def _csv(path: Path, on_broken: Callable[[BrokenRow], None]) -> Iterator[tuple[str, dict]]:
    csv.field_size_limit(LONGEST_FIELD)
    with fits_memory(path), path.open(encoding="utf-8-sig", newline="") as lines:
        # Strict: otherwise a quote that is never closed would swallow all rows after it.
        reader = csv.reader(lines, strict=True)
        try:
            head = next(reader, [])
            if (twice := Counter(head).most_common(1)) and twice[0][1] > 1:
                raise UserError(f"{path}:1: two columns are called '{twice[0][0]:.40}': rename one")
            for cells in reader:
                name = f"{path}:{reader.line_num}"
                if len(cells) > len(head):
                    on_broken(BrokenRow(name, f"{len(cells)} fields under {len(head)} columns", "quote the commas"))
                elif cells:
                    yield name, dict(zip_longest(head, cells))
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: broken CSV ({error}): fix the file") from error


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is a dataset as `save_to_disk` writes it."""
    return all((path / name).is_file() for name in SAVED)


def _saved(path: Path) -> Iterator[dict]:
    import datasets
    import pyarrow

    try:
        yield from datasets.load_from_disk(str(path))
    except (ValueError, KeyError, TypeError, OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(f"{path}: not a whole saved dataset ({cause(error, 80)}): save it again") from error


def _parquet(path: Path) -> Iterator[dict]:
    import pyarrow
    from pyarrow import parquet

    try:
        with fits_memory(path):
            rows = parquet.read_table(path).to_pylist()
        yield from rows
    except (pyarrow.ArrowInvalid, OverflowError) as error:
        raise UserError(f"{path}: not a parquet file ({str(error)[:80]}): give a whole file") from error
