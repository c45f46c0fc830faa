"""Find the final answer of a text, and compare it with the true one."""

import re
import string
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import islice

from harness.types import Equality

NO_TRUTH = "the row has no true answer"
MATH_VERIFY_CHARACTERS = 200
MATH_VERIFY_SECONDS = 5
LONGEST_ANSWER = 1000
USUAL_NUMBER = 60

_NUMBER = re.compile(
    r"(?=[-\s$€£¥₹.0-9])(?P<sign>(?<![\w.)])-|^\s{0,9}-\s?)?(?:[$€£¥₹]\s?)?(?P<inner_sign>(?<=[$€£¥₹])-)?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3}){1,12}(?![0-9])|[0-9]+|(?=\.[0-9]))(?P<decimals>\.[0-9]+)?"
    r"(?:\s?/\s?(?P<divisor>[0-9]{1,30}))?",
)
_DRESSING = str.maketrans({"−": "-", "–": "-", "*": " ", "\\": "", "{": " ", "}": " ", "\u00a0": " "})
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|boxed|left|right|[,;!() ])|\{,\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([0-9]{1,30})\}\s?\{([0-9]{1,30})\}")
_MATHEMATICS = re.compile(r"\\(?!boxed|text|[$!,%])|[\^_+*/()\[\]]|[0-9][A-Za-z]\b")
_LONGEST_NUMBER = 400
# What a missing value becomes on its way through a table.
_NO_ANSWERS = ("", "nan")


class Unscorable(Exception):
    """An answer could not be judged; the message is the reason. Such a reply is left out and counted."""


def is_right(extracted: str | None, truth: str | None, equality: Equality) -> bool:
    """Whether the extracted answer is the true one: none is wrong; no true answer raises Unscorable."""
    if truth is None or truth.strip().casefold() in _NO_ANSWERS:
        raise Unscorable(NO_TRUTH)
    return extracted is not None and equal(extracted, truth, equality)


@lru_cache(maxsize=4096)
def number(text: str) -> Fraction | None:
    """The one number that `text` states, or None where it states none or several.

    Read through thousands commas, currency, percent signs, units, LaTeX, a trailing period, and
    `48 + 24 = 72`, which states 72. Only ASCII digits are digits; over 1,000 characters are no number.
    """
    text = text.rpartition("=")[2].strip()
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        return Fraction(int(text))
    found = list(islice(_numbers(text), 2)) if len(text) <= LONGEST_ANSWER else []
    return found[0][0] if len(found) == 1 else None


def stated_answer(text: str) -> str | None:
    """The answer that free text states: its last \\boxed{}, else its last number, as text."""
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    end = max(map(text.rfind, string.digits))
    if end < 0:
        return None
    # A number is short as a rule: the rest of a long reply is not searched.
    for reach in (USUAL_NUMBER, LONGEST_ANSWER):
        last = deque(_numbers(text[max(0, end - reach) : end + 2]), maxlen=1)
        if last and len(last[0][1]) < USUAL_NUMBER // 2:
            break
    return last[0][1] if last else None


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


def _numbers(text: str) -> Iterator[tuple[Fraction, str]]:
    if "\\" in text or "{,}" in text:
        text = _LATEX.sub("", _FRACTION.sub(r"\1/\2", text))
    text = text.translate(_DRESSING)
    for match in _NUMBER.finditer(text):
        digits = match["digits"].replace(",", "")
        if len(digits) > _LONGEST_NUMBER or len(match["decimals"] or "") > _LONGEST_NUMBER:
            continue
        value = Fraction(f"{digits or 0}{match['decimals']}" if match["decimals"] else int(digits))
        if match["divisor"] and int(match["divisor"]):
            value /= int(match["divisor"])
        yield (-value if match["sign"] or match["inner_sign"] else value), match[0].strip()


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
        return bool(verify(gold, given, timeout_seconds=MATH_VERIFY_SECONDS, raise_on_error=True))
    except TimeoutException:
        return None
    except Exception:  # sympy raises whatever it likes on what a model wrote: such a text equals nothing
        return False


def _math(text: str) -> list:
    from math_verify import parse

    return parse(text if "$" in text else f"${text}$", parsing_timeout=MATH_VERIFY_SECONDS, raise_on_error=True)
