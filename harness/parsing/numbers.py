"""What number a text states: digits, groupings, signs, scales, fractions; never a part of one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LONGEST_ANSWER = 1000
LONGEST_NUMBER = 400
MOST_NUMBERS = 20

SCALES = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "k": 3, "K": 3, "M": 6, "B": 9,
    "bn": 9, "mn": 6, "mio": 6, "ratus": 2, "ribu": 3, "rb": 3, "juta": 6, "jt": 6, "miliar": 9, "milyar": 9,
    "triliun": 12, "lakh": 5, "lakhs": 5, "crore": 7, "crores": 7, "百": 2, "千": 3, "万": 4, "萬": 4, "亿": 8,
    "億": 8,
}  # fmt: skip
_LETTERS = "kKMB"
_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_RAISED = str.maketrans(SUPERSCRIPTS, "0123456789-")

# Digits and signs of other scripts, as ASCII writes them.
_PLAIN = {ord(zero) + digit: str(digit) for zero in "٠۰०০０" for digit in range(10)} | str.maketrans(
    "٫٬，．：％＄￥＝＋／（）−–﹣－\u00a0\u2007", ".,,.:%$¥=+/()----  "
)

_SPACED = r"[1-9][0-9]{0,2}(?:[ \u2009\u202f][0-9]{3}){1,12}(?![0-9]|[.,'’_ ][0-9]|-[A-Za-z]|\s?/\s?[0-9])"
_RUN = re.compile(
    rf"(?<![0-9])(?<![0-9][.,'’_])(?:{_SPACED}|(?:(?<![\w.])\.)?[0-9]+(?:[.,'’_][0-9]+)*)|[{''.join(_VULGAR)}]"
)
_BEFORE = re.compile(
    r"(?P<sign>(?<![\w.)\]}%])[-+]|(?<!\w)(?i:minus|negative|negatif)\s|负|負)?"
    r"(?:(?P<currency>[$€£¥₹₩₽₫฿₱₪₺]|(?<![A-Za-z])(?:Rp\.?|Rs\.?|RM|[A-Z]{1,2}\$|[A-Z]{3}))\s?)?"
    r"(?P<inner>(?<=[$€£¥₹₩₽₫฿₱₪₺])-)?$"
)
_DIVIDED = re.compile(r"\s?/\s?([0-9]{1,30})(?![0-9.,]*[0-9]|\s?/\s?[0-9])")
_FRACTION_BEHIND = re.compile(rf"\s?([{''.join(_VULGAR)}])|\s([0-9]{{1,30}})\s?/\s?([0-9]{{1,30}})(?![0-9])")
_EXPONENT = re.compile(
    r"[eE]([+-]?[0-9]{1,9})(?!\w)|\s?[x×*·]\s?10\s?(?:\^\s?\{?\s?(-?[0-9]{1,9})\s?\}?|([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9}))"
)
_SCALE = re.compile(
    rf"[{_LETTERS}](?![\w/^])"
    rf"|[\s-]?(?i:{'|'.join(sorted((word for word in SCALES if len(word) > 1), key=len, reverse=True))})(?![A-Za-z])"
    r"|\s?[百千](?![分克米瓦卡字赫])|\s?[万萬亿億]"
)
_UNIT = re.compile(
    r"\s?%|\s?°\s?[CF]?(?![A-Za-z])"
    r"|(?:\s?[A-Za-zµμΩ]{1,12}\.?(?:\s?(?:\^|\*\*)\s?\{?\s?-?[0-9]\s?\}?|[²³])?)?"
    r"(?:\s?/\s?[A-Za-zµμΩ]{1,12}(?:\^\{?[0-9]\}?|[²³])?)?"
)
_GROUPS = str.maketrans("", "", ",'’_ \u2009\u202f")
_ENGLISH = re.compile(r"(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})?(?:\.[0-9]+)?")
_OTHER_GROUPS = re.compile(
    r"[1-9][0-9]{0,2}(?:['’_][0-9]{3})+(?:\.[0-9]+)?|[1-9][0-9]{0,2}(?:[ \u2009\u202f][0-9]{3})+"
)
_POINTED = re.compile(r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}(?:,[0-9]+)?|\.[0-9]{3},[0-9]+)")
_ONE_POINT = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")
_DECIMAL_COMMA = re.compile(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})")
_POINT_MONEY = re.compile(r"€|EUR|Rp|IDR")
AMBIGUOUS = re.compile(rf"(?<![0-9.,])(?:{_ONE_POINT.pattern}|{_DECIMAL_COMMA.pattern})(?![0-9]|[.,][0-9])")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text, by its places; `value` is None where its digits cannot be read for certain.

    `glued`: it hangs on a letter, an underscore or a caret, as the 2 of `m2`, `x_2` and `m^2` does. `unit`: what of
    the text behind it belongs to it as a unit.
    """

    value: Fraction | None
    start: int
    end: int
    glued: bool
    unit: str


def plain_digits(text: str) -> str:
    """The text with full-width, Arabic-Indic, Devanagari and Bengali digits and their signs as ASCII has them."""
    return text if text.isascii() else text.translate(_PLAIN)


def numbers(text: str, points: bool = False) -> Iterator[Number]:
    """Every number of a text whose digits are plain; `points`: a point groups thousands, a comma is the decimal one."""
    behind = 0
    for run in _RUN.finditer(text):
        if run.start() < behind:
            continue
        start, end = run.span()
        before = _BEFORE.search(text[max(0, start - 14) : start])
        money = before["currency"] or ""
        pointed = points or bool(_POINT_MONEY.match(money) or _POINT_MONEY.match(text[end : end + 4].lstrip()))
        value = _value(run[0], pointed)
        value, end = _extended(text, run[0], value, end)
        if before["inner"] or (before["sign"] and before["sign"] != "+"):
            value = None if value is None else -value
        unit = _UNIT.match(text, end)
        previous = text[start - 1 : start]
        glued = not money and previous != "" and (previous in "_^" or (previous.isalpha() and previous < "\u0530"))
        first = start - len(before[0]) if before[0].strip() else start
        behind = end
        yield Number(value, first, end, glued, unit[0])


def _extended(text: str, run: str, value: Fraction | None, end: int) -> tuple[Fraction | None, int]:
    """The number with the fraction, power of ten and scale behind it, and where it ends then."""
    if run in _VULGAR:
        return Fraction(*_VULGAR[run]), end
    following = text[end : end + 1]
    if not following or following in ".,;:)":
        return value, end
    whole = value is not None and value.denominator == 1
    if whole and (fraction := _FRACTION_BEHIND.match(text, end)):
        part = _VULGAR[fraction[1]] if fraction[1] else (int(fraction[2]), int(fraction[3]))
        return (value + Fraction(*part) if part[1] else None), fraction.end()
    if divided := _DIVIDED.match(text, end):
        divisor = int(divided[1])
        return (value / divisor if value is not None and divisor else None), divided.end()
    if power := _EXPONENT.match(text, end):
        exponent = int(power[1] or power[2] or power[3].translate(_RAISED))
        fits = value is not None and abs(exponent) <= LONGEST_NUMBER
        return (value * Fraction(10) ** exponent if fits else None), power.end()
    for _ in range(2):
        scale = _SCALE.match(text, end)
        if scale is None:
            break
        word = scale[0].strip(" \t\n-")
        value = None if value is None else value * 10 ** SCALES[word if len(word) == 1 else word.lower()]
        end = scale.end()
    return value, end


@lru_cache(maxsize=4096)
def _value(run: str, points: bool) -> Fraction | None:
    """What a run of digits and the signs between them comes to; None where no grouping explains all of it."""
    if len(run) > LONGEST_NUMBER:
        return None
    if _POINTED.fullmatch(run) or (points and (_ONE_POINT.fullmatch(run) or _DECIMAL_COMMA.fullmatch(run))):
        return Fraction(run.replace(".", "").replace(",", "."))
    if _ENGLISH.fullmatch(run) or _OTHER_GROUPS.fullmatch(run):
        return Fraction(run.translate(_GROUPS))
    return None
