"""Rows of a user's .jsonl, .json, .csv or .parquet file, each broken one named by file and line."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a .jsonl, .json, .csv or .parquet file; a UserError names a broken line."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: cannot read '{path.suffix}': give a {', '.join(SUFFIXES)} file")
    try:
        yield from {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}[path.suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: give a file that can be read") from error


def _jsonl(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _object(line, f"{path}:{number}")


def _object(text: str, where: str) -> dict:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: broken JSON ({error.msg}): mend or delete the line") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: not an object: write {{"question": …, "answer": …}}')
    return row


def _json(path: Path) -> Iterator[dict]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: broken JSON ({error.msg}): mend the file") from error
    if isinstance(rows, dict):
        rows = rows.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f'{path}: not a list of objects: write [{{"question": …, "answer": …}}, …]')
    yield from rows


def _csv(path: Path) -> Iterator[dict]:
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
