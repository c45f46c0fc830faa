"""What a short text says: one number, a calculation, or words; the same text in another dress is the same."""

import re
from fractions import Fraction
from functools import lru_cache

from harness.parsing.numbers import LONGEST_ANSWER, LONGEST_NUMBER, MOST_NUMBERS, SUPERSCRIPTS, numbers, plain_digits

# LaTeX that only dresses what it holds. What is left of LaTeX behind these is a formula.
_UNDRESS = [
    (re.compile(r"\\[dtc]?frac\s?(?:\{([0-9]{1,30})\}\s?\{([0-9]{1,30})\}|([0-9])\s?([0-9])(?![0-9]))"), r" \1\3/\2\4"),
    (re.compile(r"\s*\{\s*,\s*\}\s*|(?<=,)\s*\\!\s*"), lambda found: "," if "," in found[0] else ""),
    (re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])"), "°"),
    (re.compile(r"\\(?:text|math|mbox|boxed|fbox|operatorname)[a-z]*\s?(?=\{)"), ""),
    (re.compile(r"\\(?:left|right|big|Big|displaystyle|q?quad)(?![A-Za-z])|\\[()\[\]]|\\[,;:> ]|(?<!\\)\\(?=\n)"), " "),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "×"),
    (re.compile(r"\\approx(?![A-Za-z])"), "≈"),
    (re.compile(r"\\([%$#&])"), r"\1"),
    (re.compile(r"\^\s?\{\s?(-?[0-9]+)\s?\}"), r"^\1"),
]
_ITALIC = re.compile(r"(?<![\w*])\*([^*\n]{1,200})\*(?![\w*])")
_EMPHASIS = re.compile(r"(?<![0-9A-Za-z)])\*\*|\*\*(?![0-9])|(?<!\w)_+|_+(?!\w)")
_SPACED_SIGN = re.compile(r"^\s*([-+])\s+(?=[0-9.$€£¥₹])")
_TAG = re.compile(r"</?[A-Za-z][\w:-]{0,40}\s?/?>")
_INEQUALITY = re.compile(r"[<>]=?\s*[\w$\\.-]|[≤≥≠∈]|!=|\\(?:leq?|geq?|neq?|lt|gt|in)(?![A-Za-z])")
_SEVERAL = re.compile(r"[,;]\s|\n|\s(?:and|or|dan|atau)\s")
_SIDES = re.compile(r"[=≈]")
_REMARK = re.compile(r"(?<=[\w%.])\s+[(\[][^()\[\]]*[)\]]")
_SIGNS = re.compile(
    rf"[+*^√×÷·±∓{{}}\\|π∞∑∫−{SUPERSCRIPTS}]|(?<![A-Za-z])/|/(?![A-Za-z])|(?<=[A-Za-z])\("
    r"|(?<![A-Za-z])(?:sqrt|sin|cos|tan|log|ln|exp|mod|pi|infinity)(?![A-Za-z])"
)
_SYMBOL = re.compile(r"\s?([A-Za-z]{1,2})(?![A-Za-z])")
_ONE_LETTER_UNITS = set("mgslLhKNJWVACFTt")
_TWO_LETTER_UNITS = {
    "cm", "mm", "km", "dm", "kg", "mg", "ml", "mL", "dl", "dL", "cl", "cL", "ft", "in", "yd", "mi", "lb", "oz", "hr",
    "ms", "ns", "kW", "MW", "kJ", "kN", "Hz", "Pa", "am", "pm", "st", "nd", "rd", "th", "ha",
}  # fmt: skip
_SPACES = re.compile(r"[ \t]{2,}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_CALCULATION = re.compile(r"[\\^√*+/×÷·!()]|[⁰¹²³⁴⁵⁶⁷⁸⁹]")
_NO_CALCULATION = re.compile(r"[^\W\d_]|[:;=<>]|,\s")
_DRESS = re.compile(r"[^\W\d_]|[%°]")
LONGEST_CALCULATION = 200


def number(text: str, points: bool = False) -> Fraction | None:
    """The one number that `text` states, or None where it states none or several.

    Read through groupings, currency, percent signs, scale words, units (`72 cm^2` is 72), LaTeX, mixed fractions, a
    remark in brackets, a trailing period, and `48 + 24 = 72`, which states 72. A formula, a range and a time state no
    number. `points`: a point groups thousands. Over 1,000 characters are no number.
    """
    if len(text) > LONGEST_ANSWER:
        text = text.rpartition("=")[2]
    return _number(text.strip(), points) if len(text) <= LONGEST_ANSWER else None


def is_calculation(text: str) -> bool:
    """Whether a text is arithmetic and nothing else, such as `2^{10}`; `5-7` is a range, `7:30` a time."""
    if len(text) > LONGEST_CALCULATION or not any(map(str.isdigit, text)) or not _CALCULATION.search(text):
        return False
    return not _NO_CALCULATION.search(_COMMAND.sub("", text))


def plain(text: str) -> str:
    """A text without emphasis, delimiters, LaTeX that only dresses, and case, to be compared as a text."""
    return (
        " ".join(undressed(text).replace("{", " ").replace("}", " ").replace("$", " ").split()).strip(" .").casefold()
    )


def is_bare(text: str) -> bool:
    """Whether a text has no word, unit or percent sign beside its digits."""
    return not _DRESS.search(_COMMAND.sub("", text))


@lru_cache(maxsize=4096)
def _number(text: str, points: bool) -> Fraction | None:
    if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER:
        return Fraction(int(text))
    text = undressed(text)
    if _INEQUALITY.search(text):
        return None
    assigned = {
        _only_number(piece.rpartition("=")[2], points)
        for piece in _SEVERAL.split(text)
        if "=" in piece and piece.lstrip()[:1].isalpha()
    }
    if len(assigned) > 1:
        return None
    sides = [side for side in _SIDES.split(text) if any(map(str.isdigit, side)) or any(map("½⅓⅔¼¾".__contains__, side))]
    if not sides:
        return _only_number(text, points)
    side = sides[0] if len(sides) > 1 and "≈" in text and "=" not in text else sides[-1]
    return _only_number(side, points)


def undressed(text: str) -> str:
    """A text without emphasis, tags, and LaTeX that only dresses what it holds."""
    text = plain_digits(text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "\\" in text or "{" in text or "^" in text:
        for dress, plain_text in _UNDRESS:
            text = dress.sub(plain_text, text)
        if not _COMMAND.search(text):
            text = _SPACES.sub(" ", text.replace("{", " ").replace("}", " "))
    return _SPACED_SIGN.sub(r"\1", unemphasised(text))


def unemphasised(text: str) -> str:
    """A text without Markdown's asterisks and underscores for bold and italic."""
    return _ITALIC.sub(r"\1", _EMPHASIS.sub("", text)) if "*" in text or "_" in text else text


def _only_number(text: str, points: bool) -> Fraction | None:
    bare = _REMARK.sub(" ", text) if "(" in text or "[" in text else text
    if bare != text and not any(map(str.isdigit, bare)):
        bare = text
    values, rest, place = set(), [], 0
    for count, found in enumerate(numbers(bare, points)):
        if count == MOST_NUMBERS or (not found.glued and (found.value is None or _is_variable(found.unit))):
            return None
        if found.end <= place:  # the exponent of a unit
            continue
        rest.append(bare[place : found.start])
        place = found.end + len(found.unit)
        if not found.glued:
            values.add(found.value)
    rest.append(bare[place:])
    if len(values) != 1 or _SIGNS.search(" ".join(rest)):
        return None
    return values.pop()


def _is_variable(unit: str) -> bool:
    """Whether what hangs on a number is a letter of a formula, as in `34x`, and no unit."""
    symbol = _SYMBOL.match(unit)
    if symbol is None:
        return False
    if len(symbol[1]) == 1:
        return symbol[1] not in _ONE_LETTER_UNITS
    return not unit[0].isspace() and symbol[1] not in _TWO_LETTER_UNITS
