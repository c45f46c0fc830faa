"""One lookup for everything that has a name: the object, the nearest known name, the extra it needs."""

import difflib
import importlib
import importlib.util
from collections.abc import Collection, Mapping
from typing import Any

from harness.errors import UserError


def choose(noun: str, name: object, known: Collection[str]) -> str:
    """`name` if it is known. Raises UserError with the nearest known name, or with all of them."""
    if isinstance(name, str) and name in known:
        return name
    by_fold = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(str(name).casefold(), by_fold, n=1, cutoff=0.4)
    hint = f"did you mean '{by_fold[near[0]]}'?" if near else f"known: {', '.join(sorted(known))}"
    raise UserError(f"unknown {noun} '{name}': {hint}")


def needs(noun: str, name: str, table: Mapping[str, str]) -> None:
    """Raise UserError if the library `name` is not installed. Imports nothing."""
    extra = table[name].partition(" ")[2]
    if extra and importlib.util.find_spec(name) is None:
        raise UserError(f"{noun} '{name}' needs {name}: pip install 'harness{extra}'")


def needs_library(what: str, library: str, extra: str) -> None:
    """Raise UserError if a library is not installed. Imports nothing."""
    if importlib.util.find_spec(library) is None:
        raise UserError(f"{what} needs {library}: pip install 'harness[{extra}]'")


def load(noun: str, name: str, table: Mapping[str, str]) -> Any:
    """The object of `name` in a table of "module:attribute" or "module:attribute [extra]" strings.

    Raises UserError if the name is unknown, or if its extra is not installed.
    """
    target, _, extra = table[choose(noun, name, table)].partition(" ")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not extra:
            raise
        raise UserError(f"{noun} '{name}' needs {error.name}: pip install 'harness{extra}'") from error
