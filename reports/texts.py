"""The page in another language: a table has each fixed English text of it, a hole for each value, with its translation.

Code and templates say what they say in English. What they have said is looked up where it is written: `t` finds the
row whose text it is and puts the values where the translation wants them. {} and {1} is a value as it is, {:t} and
{1:t} one that is a text of the table too. Two sentences may stand in rows of their own.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib import resources
from typing import Literal, TypeVar

Language = Literal["en", "zh"]
ENGLISH: Language = "en"
# As HTML names them.
CODES: dict[Language, str] = {"en": "en", "zh": "zh-Hans"}
HOLE, STOP, FEW_LETTERS = "{}", ".", 16
# Letters of the longest text that is looked through for several sentences.
LONGEST = 1500
Text = TypeVar("Text", bound=str)
_current: ContextVar[Language] = ContextVar("language", default=ENGLISH)


@contextmanager
def using(language: Language) -> Iterator[None]:
    """Write in a language until the block ends."""
    before = _current.set(language)
    try:
        yield
    finally:
        _current.reset(before)


def html_language() -> str:
    """The language that is written in, as HTML names it."""
    return CODES[_current.get()]


def t(text: Text) -> Text:
    """A finished English text in the language that is written in; as it is where the table has none for it."""
    if _current.get() == ENGLISH:
        return text
    found = _find(" ".join(text.split()) if "\n" in text else str(text), _current.get())
    return text if found is None else type(text)(found)


def for_script() -> str:
    """The table as JSON that may stand in a script; empty in English."""
    return json.dumps(table(_current.get()), ensure_ascii=False).replace("<", "\\u003c")


@cache
def table(language: Language) -> dict[str, str]:
    """Each English text and its translation; English has none."""
    if language == ENGLISH:
        return {}
    file = resources.files("reports") / f"texts.{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


@cache
def _with_holes(language: Language) -> tuple[tuple[list[str], str], ...]:
    """What stands around the holes of each row that has some, and its translation; the most particular first."""
    rows = sorted(table(language).items(), key=lambda row: -len(row[0]))
    return tuple((text.split(HOLE), translation) for text, translation in rows if HOLE in text)


@lru_cache(maxsize=4096)  # or a text of many sentences would be tried in every way
def _find(text: str, language: Language) -> str | None:
    """The translation of a text, or of several that follow each other."""
    if (found := table(language).get(text)) is not None:
        return found
    for at in range(len(text) if len(text) < LONGEST else 0):
        if text.startswith(f"{STOP} ", at) and (one := _whole(text[: at + 1], language)) is not None:
            more = _find(text[at + 2 :], language)
            if more is not None:
                return one + more
    return _whole(text, language)


def _whole(text: str, language: Language) -> str | None:
    """The translation by one row, which may lack the stop."""
    rows = _with_holes(language)
    if text.endswith(STOP) or f"{STOP} " in text:
        rows = [(around, translation) for around, translation in rows if _is_sentence(around)]
    for bare, end in ((text, ""), (text.removesuffix(STOP), table(language)[STOP])):
        if (found := table(language).get(bare)) is not None:
            return found + end
        for around, translation in rows:
            if (values := _values(around, bare)) is not None:
                return translation.format(*map(_Value, values)) + end
    return None


def _is_sentence(around: Sequence[str]) -> bool:
    """Whether a row is more than a few words between values, like "{} of {}"."""
    return bool(around[0]) or around[-1].endswith(STOP) or sum(map(len, around)) > FEW_LETTERS


def _values(around: Sequence[str], text: str) -> list[str] | None:
    """What fills the holes of a row; None where the text is not of that row."""
    first, *between, last = around
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return None
    values = []
    for piece in between:
        found = text.find(piece, at, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(piece)
    return [*values, text[at:end]]


class _Value(str):
    """What fills a hole, translated where the translation asks for it."""

    __slots__ = ()

    def __format__(self, how: str) -> str:
        return t(str(self)) if how == "t" else str(self)
