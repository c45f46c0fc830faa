"""Check JSON against dataclasses: a file that was edited, cut or mixed up is refused before it is used, and what could
not be read again before it is written.

Written by hand although pydantic's strict mode reads 100,000 completions in 0.3 s instead of 1.0 s: that refuses the
half surrogate pairs of old journals, takes infinity, turns a score of 1 into 1.0 and drops unknown keys of run.json.
"""

import json
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from harness.errors import UserError
from harness.storage.files import json_line, json_text, read_json, write_text
from harness.types import Kind

# No figure of a run is larger, and beyond these arithmetic overflows.
LARGEST_INTEGER, LARGEST_NUMBER = 2**63, 1e100


def make(kind: type[Kind], value: Any) -> Kind:
    """The dataclass `kind` from a JSON object. Raises ValueError if it does not fit, TypeError for an unknown field."""
    check(kind, value)
    return kind(**value)


def read(kind: type, path: Path, fix: str) -> dict[str, Any]:
    """The content of a JSON file. Raises UserError with the fix if it is not what `kind` describes."""
    return check_all(kind, [read_json(path, fix)], path, fix)[0]


def check_all(kind: type, values: Sequence[Any], path: Path, fix: str) -> Sequence[Any]:
    """The values from a file. Raises UserError with the fix if one is not what `kind` describes."""
    try:
        for value in values:
            check(kind, value)
    except ValueError as error:
        raise UserError(f"{path}: damaged or edited ({error}): {fix}") from error
    return values


def write(kind: Any, path: Path, value: Any) -> None:
    """Write a JSON file of a dataclass, or of a dict of them. Raises ValueError, and leaves the file, if it would not
    be read again."""
    text = json_text(value)
    _refuse_unreadable(kind, path, text)
    write_text(path, text)


def write_rows(kind: type, path: Path, rows: Iterable[dict]) -> None:
    """Write a line of JSON for each row, as `write` does."""
    lines = [json_line(row) for row in rows]
    for line in lines:
        _refuse_unreadable(kind, path, line)
    write_text(path, "".join(lines))


def _refuse_unreadable(kind: Any, path: Path, text: str) -> None:
    if not _fits(kind)(json.loads(text)):
        raise ValueError(f"{path}: could not be read again if this were written: {text[:200]}")


def check(kind: type, value: Any) -> None:
    """Raise ValueError if `value` lacks a field of a dataclass or one has another type. Ignores unknown fields."""
    if type(value) is not dict:
        raise ValueError("not an object")
    for name, (fits, required) in _fields(kind).items():
        if name in value:
            if not fits(value[name]):
                raise ValueError(f"{name} has the wrong type or value")
        elif required:
            raise ValueError(f"{name} is missing")


@cache
def _fields(kind: type) -> dict[str, tuple[Callable[[Any], bool], bool]]:
    """The check of each field, and whether the field is required."""
    hints = get_type_hints(kind)
    return {
        each.name: (_fits(hints[each.name]), each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    }


def _fits(hint: Any) -> Callable[[Any], bool]:
    """A check of values against a type, which tells types apart as JSON does: true is no number."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        # Every union here is of a type and None, or of two types.
        one, other = map(_fits, sorted(inner, key=lambda each: each is not types.NoneType))
        return lambda value: one(value) or other(value)
    if origin is Literal:
        return lambda value: type(value) is str and value in inner
    if origin is dict:
        fits = _fits(inner[1])
        return lambda value: type(value) is dict and all(map(fits, value.values()))
    if origin is tuple:
        fits = _fits(inner[0])
        return lambda value: type(value) is list and all(map(fits, value))
    if is_dataclass(hint):
        return lambda value: _is(hint, value)
    if hint is int:
        return lambda value: type(value) is int and -LARGEST_INTEGER <= value < LARGEST_INTEGER
    if hint is float:
        return lambda value: (type(value) is float or type(value) is int) and not abs(value) >= LARGEST_NUMBER
    return lambda value: type(value) is hint


def _is(kind: type, value: Any) -> bool:
    try:
        check(kind, value)
    except ValueError:
        return False
    return True
