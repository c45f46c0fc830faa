"""JSON held against the nouns: a file of ours that was edited, cut or mixed up is refused before it is believed."""

import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import UserError
from harness.storage.files import read_json

Noun = TypeVar("Noun")
# Beyond these no figure of ours lies, and arithmetic overflows.
LARGEST_INTEGER, LARGEST_NUMBER = 2**63, 1e100


def make(kind: type[Noun], value: Any) -> Noun:
    """The noun of that kind that `value` spells; a TypeError or ValueError says what keeps it from being one."""
    check(kind, value)
    return kind(**value)


def read(kind: type, path: Path, fix: str) -> dict[str, Any]:
    """The content of a JSON file. Raises UserError with the fix if it is not what `kind` describes."""
    return check_all(kind, [read_json(path)], path, fix)[0]


def check_all(kind: type, values: Sequence[Any], path: Path, fix: str) -> Sequence[Any]:
    """The values from a file. Raises UserError with the fix if one is not what `kind` describes."""
    try:
        for value in values:
            check(kind, value)
    except ValueError as error:
        raise UserError(f"{path}: not as the program wrote it ({error}): {fix}") from error
    return values


def check(kind: type, value: Any) -> None:
    """A ValueError where `value` lacks a field of a noun, or has one of another kind; fields unknown are let be."""
    if type(value) is not dict:
        raise ValueError("not an object")
    for name, (fits, needed) in _fields(kind).items():
        if name in value:
            if not fits(value[name]):
                raise ValueError(f"{name} is not what it should be")
        elif needed:
            raise ValueError(f"without {name}")


@cache
def _fields(kind: type) -> dict[str, tuple[Callable[[Any], bool], bool]]:
    """Of each field its check, and whether it has no default."""
    hints = get_type_hints(kind)
    return {
        each.name: (_fits(hints[each.name]), each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    }


def _fits(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is of a kind, exactly as JSON tells kinds apart: true is no number."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        # There is no other union than of a kind and None, or of two kinds.
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
