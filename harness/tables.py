"""Rows of a user's .jsonl, .json, .csv or .parquet file, each broken one named by file and line."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
LONGEST_FIELD = 2**31 - 1


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a .jsonl, .json, .csv or .parquet file; a UserError names a broken line."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: cannot read '{path.suffix}': give a {', '.join(SUFFIXES)} file")
    try:
        yield from {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}[suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: give a file that can be read") from error


def _jsonl(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _object(line, f"{path}:{number}")


def _object(text: str, where: str) -> dict:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: broken JSON ({_cause(error)}): mend or delete the line") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: not an object: write {{"question": …, "answer": …}}')
    return row


def _json(path: Path) -> Iterator[dict]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(f"{path}:{line}: broken JSON ({_cause(error)}): mend the file") from error
    if isinstance(rows, dict):
        rows = rows.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f'{path}: not a list of objects: write [{{"question": …, "answer": …}}, …]')
    yield from rows


def _cause(error: Exception) -> str:
    return getattr(error, "msg", None) or str(error).split(":")[0]


def _csv(path: Path) -> Iterator[dict]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            yield from reader
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: broken CSV ({error}): mend the file") from error


def _parquet(path: Path) -> Iterator[dict]:
    import pyarrow
    from pyarrow import parquet

    try:
        yield from parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a parquet file ({str(error)[:80]}): give a whole file") from error
