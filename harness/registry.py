"""One lookup for everything that has a name: the object, the nearest known name, the extra it needs."""

import difflib
import gc
import importlib
import importlib.util
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from harness.errors import UserError

# What pip calls us: on the registry `harness` is somebody else's.
DISTRIBUTION = "grpo-harness"
# Below this share of common letters, and with less than so many of them, a suggestion puzzles more than it helps.
LIKENESS, FEWEST_LETTERS = 0.7, 4
# Nouns with too many names for one line, and the command that lists them.
LISTED_BY = {"recipe key": "harness settings"}


def choose(noun: str, name: object, known: Collection[str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> str:
    """`name` if it is known. Raises UserError with our name for it, the nearest known name, or all of them.

    `elsewhere`: names of other programs, each with ours, after which a remark may follow.
    """
    if isinstance(name, str) and name in known:
        return name
    if isinstance(name, str) and name in elsewhere:
        raise UserError(f"unknown {noun}: {called_here(name, elsewhere)}")
    if near := nearest(str(name), known):
        hint = f"did you mean '{near}'?"
    else:
        hint = f"{LISTED_BY[noun]} lists all" if noun in LISTED_BY else f"known: {', '.join(sorted(known))}"
    raise UserError(f"unknown {noun} '{name}': {hint}")


def called_here(name: str, elsewhere: Mapping[str, str]) -> str:
    """What a name of another program is called here: "max_steps is called steps here"."""
    ours, _, remark = elsewhere[name].partition(" ")
    return f"{name} is called {ours} here{f' {remark}' if remark else ''}"


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name most like one: with the same letters in another order, part of it, or with most of its letters,
    or of its first word's."""
    by_fold, name = {each.casefold(): each for each in known}, name.casefold()
    swapped = [each for each in by_fold if sorted(each) == sorted(name)]
    parts = [each for each in by_fold if _is_part(name, each) or _is_part(each, name)]
    first_words = {each.partition("_")[0]: each for each in sorted(by_fold, reverse=True)}
    first = [first_words[each] for each in difflib.get_close_matches(name, first_words, n=1, cutoff=LIKENESS)]
    near = swapped or difflib.get_close_matches(name, by_fold, n=1, cutoff=LIKENESS) or parts or first
    return by_fold[near[0]] if near else None


def _is_part(name: str, whole: str) -> bool:
    return len(name) >= FEWEST_LETTERS and name in whole


def installation(extra: str) -> str:
    """The command that installs what an extra, as in [gpu], has."""
    return f"pip install '{DISTRIBUTION}{extra}'"


def needs(noun: str, name: str, table: Mapping[str, str]) -> None:
    """Raise UserError if the library `name` is not installed. Imports nothing."""
    extra = table[name].partition(" ")[2]
    if extra and importlib.util.find_spec(name) is None:
        raise UserError(f"{noun} '{name}' needs {name}: {installation(extra)}")


def needs_library(what: str, library: str, extra: str) -> None:
    """Raise UserError if a library is not installed. Imports nothing."""
    if importlib.util.find_spec(library) is None:
        raise UserError(f"{what} needs {library}: {installation(f'[{extra}]')}")


def load(noun: str, name: str, table: Mapping[str, str]) -> Any:
    """The object of `name` in a table of "module:attribute" or "module:attribute [extra]" strings.

    Raises UserError if the name is unknown, or if its extra is not installed.
    """
    target, _, extra = table[choose(noun, name, table)].partition(" ")
    module, _, attribute = target.partition(":")
    try:
        with importing():
            return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not extra:
            raise
        raise UserError(f"{noun} '{name}' needs {error.name}: {installation(extra)}") from error


@contextmanager
def importing() -> Iterator[None]:
    """Import in the body, without looking for garbage among what stays: for vLLM that takes a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
