"""Where a text holds formulas, in time linear in its length."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPENING = re.compile(
    r"\\\$|\$\$?|\\[(\[]|\\begin\{(align|aligned|equation|gather|gathered|multline|eqnarray|displaymath|math|split)(\*?)\}"
)
_CLOSING = {"$$": "$$", r"\(": r"\)", r"\[": r"\]"}
# A dollar sign, a number and words: an amount, not the beginning of a formula.
_AMOUNT = re.compile(r"\s?\d[\d.,]{0,20}(?:[^\\{}]*\s)?[^\W\d_]{2,}")
_WORD = re.compile(r"(?<![\\A-Za-z{])[^\W\d_]{2,}")
_LONGEST_INLINE = 400
_GROUPED = re.compile(r"\\[A-Za-z]+\s?\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula with its delimiters, as places in the text, and what stands between them."""

    start: int
    end: int
    inner: str


def formulas(text: str) -> Iterator[Formula]:
    r"""The formulas between `$`, `$$`, `\(`, `\[` and in environments such as `align*`, in order.

    A single dollar sign that opens an amount of money is no delimiter: nor is one whose like on the same line stands
    before a digit, or behind white space where there are words between the two.
    """
    if "$" not in text and "\\" not in text:
        return
    missing, place = set(), 0
    while opening := _OPENING.search(text, place):
        start, mark = opening.span()[0], opening[0]
        inner = place = opening.end()
        if mark == r"\$":
            continue
        if mark == "$":
            end = _inline_end(text, inner)
            length = 1
        else:
            closing = _CLOSING.get(mark) or f"\\end{{{opening[1]}{opening[2]}}}"
            end = text.find(closing, inner) if closing not in missing else -1
            length = len(closing)
            if end < 0:
                missing.add(closing)
        if end >= 0:
            place = end + length
            yield Formula(start, place, text[inner:end])


def _inline_end(text: str, inner: int) -> int:
    """Where the dollar sign stands that closes a formula; -1 where the one before `inner` opens none."""
    end = text.find("$", inner, inner + _LONGEST_INLINE)
    while end > 0 and text[end - 1] == "\\":
        end = text.find("$", end + 1, inner + _LONGEST_INLINE)
    between = text[inner:end]
    if end <= inner or "\n" in between:
        return -1
    if _AMOUNT.match(between) or text[end + 1 : end + 2].isdigit():
        return -1
    if (between[0].isspace() or between[-1].isspace()) and _WORD.search(_GROUPED.sub("", between)):
        return -1
    return end
