"""One lookup for everything that has a name: what it is, what was perhaps meant, which extra it needs."""

import difflib
import importlib
from collections.abc import Collection, Mapping
from typing import Any

from harness.errors import UserError


def choose(noun: str, name: str, known: Collection[str]) -> str:
    """`name` if it is known; else a UserError with the nearest known name."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(f"unknown {noun} '{name}': {hint}known: {', '.join(sorted(known))}")


def load(noun: str, name: str, table: Mapping[str, str]) -> Any:
    """The object behind `name` in a table of "module:attribute" or "module:attribute [extra]" strings."""
    target, _, extra = table[choose(noun, name, table)].partition(" ")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not extra:
            raise
        raise UserError(f"{noun} '{name}' needs {error.name}: pip install 'harness{extra}'") from error
