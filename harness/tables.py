"""A user's .jsonl, .json, .csv and .parquet files: which are of a split, and their rows, each broken one named."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
LONGEST_FIELD = 2**31 - 1
SPLIT_NAMES = {"train", "test", "validation", "val", "dev"}


class BrokenRow(UserError):
    """A line that is no row: where it is, what is wrong with it, and the fix."""

    def __init__(self, where: str, cause: str, fix: str):
        super().__init__(f"{where}: {cause}: {fix}")
        self.where, self.cause = where, cause


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a .jsonl, .json, .csv or .parquet file; a UserError names a broken line."""

    def refuse(error: BrokenRow) -> None:
        raise error

    return (row for _, row in named_rows(path, refuse))


def named_rows(path: Path, on_broken: Callable[[BrokenRow], None]) -> Iterator[tuple[str, dict]]:
    """Each row with its name, `file:line` (or the row's number where a file has no lines).

    A broken line of a .jsonl file goes to `on_broken` and is left out if that returns; any other file that
    cannot be read is a UserError.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: cannot read '{path.suffix}': give a {', '.join(SUFFIXES)} file")
    try:
        if suffix == ".jsonl":
            yield from _jsonl(path, on_broken)
        elif suffix == ".csv":
            yield from _csv(path)
        else:
            rows = {".json": _json, ".parquet": _parquet}[suffix](path)
            yield from ((f"{path}: row {number}", row) for number, row in enumerate(rows, start=1))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: give a file that can be read") from error


def _jsonl(path: Path, on_broken: Callable[[BrokenRow], None]) -> Iterator[tuple[str, dict]]:
    with path.open("rb") as lines:
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
        raise BrokenRow(where, "not UTF-8 text", "mend or delete the line") from error
    except (ValueError, RecursionError) as error:
        raise BrokenRow(where, f"broken JSON ({_cause(error)})", "mend or delete the line") from error
    if not isinstance(row, dict):
        raise BrokenRow(where, "not an object", 'write {"question": …, "answer": …}')
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


def _csv(path: Path) -> Iterator[tuple[str, dict]]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, restkey="cells beyond the header")
        try:
            for row in reader:
                yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: broken CSV ({error}): mend the file") from error


def _parquet(path: Path) -> Iterator[dict]:
    import pyarrow
    from pyarrow import parquet

    try:
        yield from parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a parquet file ({str(error)[:80]}): give a whole file") from error


def split_files(path: Path, split: str, config: str | None) -> tuple[list[Path], bool]:
    """The files of a split, and whether `train` and `test` are still to be cut out of them.

    A folder without test files has its test problems held out of the train files, whichever split is asked for.
    """
    if path.is_file():
        return [path], True
    path = path / config if config and (path / config).is_dir() else path
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path}: no {', '.join(SUFFIXES)} file in this folder: name the folder that has them")
    named = {name: [file for file in files if _split_name(file) == name] for name in map(_split_name, files)}
    cut = split in ("train", "test") and "test" not in named
    wanted = "train" if cut else split
    if split == "all" or (cut and not named.keys() & SPLIT_NAMES):
        chosen = files
    elif wanted in named:
        chosen = named[wanted]
    else:
        raise UserError(
            f"{path}: no file of split '{wanted}' (there is {files[0].name}): add {wanted}.jsonl or the like"
        )
    folders = {file.parent.name for file in chosen}
    if len(folders) > 1:
        raise UserError(f"{path}: split '{split}' lies in {' and '.join(sorted(folders))}: name one of these folders")
    return chosen, cut


def _split_name(file: Path) -> str:
    return re.split(r"[-_.]", file.name)[0]
