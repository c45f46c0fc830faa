"""Find the final answer of a text, and compare it with the true one."""

import re
import string
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import islice

from harness.types import Equality

NO_TRUTH = "the row has no true answer"
# What a missing value becomes on its way through a table.
NO_ANSWERS = ("", "nan")
MATH_VERIFY_CHARACTERS = 200
MATH_VERIFY_SECONDS = 5
LONGEST_ANSWER = 1000
USUAL_NUMBER = 60

_NUMBER = re.compile(
    r"(?=[-\s$€£¥₹.0-9])(?P<sign>(?<![\w.)])-|^\s{0,9}-\s?)?(?:[$€£¥₹]\s?)?(?P<inner_sign>(?<=[$€£¥₹])-)?"
    r"(?:(?P<whole>[0-9]{1,30})\s(?=[0-9]{1,30}\s?/\s?[0-9]))?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3}){1,12}(?![0-9])|(?<![0-9])[0-9]{1,3}(?:[ \u2009\u202f][0-9]{3}){1,12}(?![0-9])"
    r"|[0-9]+|(?=\.[0-9]))(?P<decimals>\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]{1,9})(?!\w))?"
    r"(?:\s?/\s?(?P<divisor>[0-9]{1,30}))?",
)
_GROUPS = str.maketrans("", "", ", \u2009\u202f")
_DRESSING = str.maketrans({"−": "-", "–": "-", "*": " ", "\\": "", "{": " ", "}": " ", "\u00a0": " "})
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|boxed|left|right|[,;!() ])|\{,\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{([0-9]{1,30})\}\s?\{([0-9]{1,30})\}|([0-9])([0-9])(?![0-9]))")
_MATHEMATICS = re.compile(r"\\(?!boxed|text|[$!,%])|[\^_+*/()\[\]]|[0-9][A-Za-z]\b")
_LONGEST_NUMBER = 400
_MOST_NUMBERS = 20


class Unscorable(Exception):
    """An answer could not be judged; the message is the reason. Such a reply is left out and counted."""


def is_right(extracted: str | None, truth: str | None, equality: Equality) -> bool:
    """Whether the extracted answer is the true one: none is wrong; no true answer raises Unscorable."""
    if truth is None or truth.strip().casefold() in NO_ANSWERS:
        raise Unscorable(NO_TRUTH)
    return extracted is not None and equal(extracted, truth, equality)


def number(text: str) -> Fraction | None:
    """The one number that `text` states, or None where it states none or several.

    Read through thousands commas and spaces, currency, percent signs, units (`72 cm^2` is 72), LaTeX, mixed
    fractions, a trailing period, and `48 + 24 = 72`, which states 72. Only ASCII digits are digits; over 1,000
    characters are no number.
    """
    if len(text) > LONGEST_ANSWER:
        text = text.rpartition("=")[2]
    return _number(text.strip()) if len(text) <= LONGEST_ANSWER else None


@lru_cache(maxsize=4096)
def _number(text: str) -> Fraction | None:
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        return Fraction(int(text))
    left, _, right = text.rpartition("=")
    side = right if any(map(right.__contains__, string.digits)) else left
    free, glued = set(), set()
    for value, _, is_glued in islice(_numbers(side), _MOST_NUMBERS):
        (glued if is_glued else free).add(value)
    found = free or glued
    return found.pop() if len(found) == 1 else None


def stated_answer(text: str) -> str | None:
    """The answer that free text states: its last \\boxed{}, else its last number, as text."""
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    # A number is short as a rule, and stands at the end: the rest of a long reply is not searched.
    last = _last_number(text[-USUAL_NUMBER:])
    if last is None or len(last) > USUAL_NUMBER // 2:
        end = max(map(text.rfind, string.digits))
        last = _last_number(text[max(0, end - LONGEST_ANSWER) : end + 2]) if end >= 0 else None
    return last


def _last_number(text: str) -> str | None:
    """The last number that stands free, else the last one."""
    last, last_is_glued = None, True
    for _, number, is_glued in _numbers(text):
        if last_is_glued or not is_glued:
            last, last_is_glued = number, is_glued
    return last


def final_answer(text: str) -> str | None:
    """The answer of a reply without a layout: after `####`, else its last \\boxed{}, else its last number."""
    _, marked, tail = text.rpartition("####")
    line = tail.strip().split("\n", 1)[0].strip()
    return line if marked and line else stated_answer(text)


def equal(candidate: str, truth: str, equality: Equality) -> bool:
    """Whether `candidate` is the true answer; raises Unscorable where the comparison timed out.

    `number` compares exactly, as rational numbers. `math` does so where neither text holds more mathematics
    than a number, and else asks math-verify, truth first, about candidates of at most 200 characters.
    """
    candidate, truth = candidate.strip(), truth.strip()
    if len(candidate) > LONGEST_ANSWER:
        return candidate == truth
    if equality == "number" or not (_MATHEMATICS.search(candidate) or _MATHEMATICS.search(truth)):
        given, right = number(candidate), number(truth)
        return candidate == truth if right is None else given == right
    return len(candidate) <= MATH_VERIFY_CHARACTERS and _math_equal(candidate, truth)


def _numbers(text: str) -> Iterator[tuple[Fraction, str, bool]]:
    """Each number with its text, and whether it is glued to a letter or a caret, as the 2 of `m^2` is."""
    if "\\" in text or "{,}" in text:
        text = _LATEX.sub("", _FRACTION.sub(_written_out, text))
    if not text.isascii() or any(map(text.__contains__, "*\\{}")):
        text = text.translate(_DRESSING)
    for match in _NUMBER.finditer(text):
        digits = match["digits"].translate(_GROUPS)
        if len(digits) > _LONGEST_NUMBER or len(match["decimals"] or "") > _LONGEST_NUMBER:
            continue
        if abs(int(match["exponent"] or 0)) > _LONGEST_NUMBER:
            continue
        value = Fraction(f"{digits or 0}{match['decimals']}" if match["decimals"] else int(digits))
        if match["exponent"]:
            value *= Fraction(10) ** int(match["exponent"])
        if match["divisor"]:
            if not int(match["divisor"]):
                continue
            value /= int(match["divisor"])
        if match["whole"]:
            value += int(match["whole"])
        negative = match["sign"] or match["inner_sign"]
        before = text[match.start() - 1 : match.start()]
        yield -value if negative else value, match[0].strip(), before.isalpha() or before == "^"


def _written_out(fraction: re.Match) -> str:
    numerator, divisor = fraction[1] or fraction[3], fraction[2] or fraction[4]
    return f" {numerator}/{divisor}"


def _boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + len("\\boxed"), min(len(text), start + LONGEST_ANSWER)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : place].strip()
    return None


def _math_equal(candidate: str, truth: str) -> bool:
    same = _math_verify(candidate, truth)
    if same is None:
        raise Unscorable(f"math-verify took over {MATH_VERIFY_SECONDS} s")
    return same


@lru_cache(maxsize=4096)
def _math_verify(candidate: str, truth: str) -> bool | None:
    """None where it took too long: kept too, so that one answer costs its seconds once."""
    from math_verify import verify
    from math_verify.errors import TimeoutException

    try:
        gold, given = _math(truth), _math(candidate)
        return bool(verify(gold, given, timeout_seconds=_seconds(), raise_on_error=True))
    except TimeoutException:
        return None
    except Exception:  # sympy raises whatever it likes on what a model wrote: such a text equals nothing
        return False


def _math(text: str) -> list:
    from math_verify import parse

    return parse(text if "$" in text else f"${text}$", parsing_timeout=_seconds(), raise_on_error=True)


def _seconds() -> int | None:
    """math-verify keeps time by a signal, which only the main thread gets."""
    return MATH_VERIFY_SECONDS if threading.current_thread() is threading.main_thread() else None
