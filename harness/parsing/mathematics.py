"""Mathematics by math-verify, behind a guard: a reading that leaves out a part of what it read does not count."""

import re
import threading
from functools import lru_cache

from harness.parsing.numbers import LONGEST_ANSWER, SUPERSCRIPTS, plain_digits
from harness.parsing.reading import number

MATH_VERIFY_CHARACTERS = 200
MATH_VERIFY_SECONDS = 5

MOST_UNCLOSED = 3
MOST_POWERS = 40
DEEPEST = 15
_BRACKETS = re.compile(r"[][(){}]")
# To math-verify an inline formula keeps to its line.
_BROKEN_INLINE = re.compile(r"(?<![\\$])\$[ \t]*\n[^$\n]{0,200}\n[ \t]*\$(?!\$)")
_LATEX = re.compile(r"\$|\\[(\[]|\\f?box")
_ROOT = re.compile(r"√\s?(?:\(([^()]{1,100})\)|([0-9A-Za-z]{1,30}))")
_RAISED = re.compile(rf"[{SUPERSCRIPTS}]{{1,9}}")
_SIGNS = str.maketrans({
    "×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ",
    "∞": r"\infty ", "∪": r"\cup ",
})  # fmt: skip
_DOWN = str.maketrans(SUPERSCRIPTS, "0123456789-")
_ONE_NUMBER = re.compile(r"\s*-?(?:[0-9]{1,3}(?:,[0-9]{3})+|0,[0-9]+|[0-9]*)(?:\.[0-9]+)?\s*")
_GOES_ON = re.compile(r"\s?(?:[+*^√(]|\\(?:sqrt|frac|times|cdot|pi)|(?:sqrt|pi)\b)")
_SIDE_BY_SIDE = re.compile(r"[0-9]\s+[0-9]")


def same_mathematics(part: str, candidate: str, truth: str) -> bool | None:
    """Whether math-verify finds the true answer in `part`, of which `candidate` is what we take for the answer.

    Parts of over 1,000 characters, or of brackets without end, are not read: then the candidate alone is. None where
    it took too long.
    """
    if len(part) > LONGEST_ANSWER or not _is_ordinary(part):
        part = candidate
    if not _is_ordinary(candidate):
        return False
    if len(candidate) > MATH_VERIFY_CHARACTERS or len(truth) > 5 * LONGEST_ANSWER or _BROKEN_INLINE.search(part):
        return False
    return _verify(part, candidate, truth)


def _is_ordinary(text: str) -> bool:
    """Whether brackets are closed about as often as opened and nest little, with few powers.

    Others take math-verify seconds, and say nothing.
    """
    depth = deepest = 0
    for sign in _BRACKETS.findall(text):
        depth += 1 if sign in "([{" else -1
        deepest = max(deepest, abs(depth))
    return deepest <= DEEPEST and abs(depth) <= MOST_UNCLOSED and text.count("^") <= MOST_POWERS


@lru_cache(maxsize=4096)
def _verify(part: str, candidate: str, truth: str) -> bool | None:
    """None where it took too long: kept too, so that one answer costs its seconds once."""
    from math_verify import verify
    from math_verify.errors import TimeoutException

    try:
        given = _reading(part, candidate) or _reading(_as_formula(candidate), candidate)
        gold = _parse(truth if _LATEX.search(truth) else f"${truth}$")
        return bool(given) and bool(verify(gold, given, timeout_seconds=_seconds(), raise_on_error=True))
    except TimeoutException:
        return None
    except Exception:  # sympy raises whatever it likes on what a model wrote: such a text equals nothing
        return False


def _reading(text: str, candidate: str) -> list | None:
    """What math-verify reads in a text; None where that is only a part of what stands there."""
    text = _latex(text)
    if not _LATEX.search(text) and text.strip() == candidate.strip():
        return None
    read = _parse(text)
    if len(read) < 2 or not isinstance(read[-1], str):
        return None
    expression = read[-1]
    if _ONE_NUMBER.fullmatch(expression):
        is_whole = number(candidate) is not None or number(candidate, points=True) is not None
    else:
        goes_on = _GOES_ON.match(text, text.rfind(expression) + len(expression)) if expression in text else None
        is_whole = not goes_on and not _SIDE_BY_SIDE.search(expression) and _is_read_to_its_end(expression)
    return read if is_whole else None


def _is_read_to_its_end(expression: str) -> bool:
    from antlr4 import Token
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
    from math_verify.errors import TimeoutException
    from math_verify.utils import timeout

    parser = _Latex2Sympy().create_parser(expression)
    try:
        timeout(timeout_seconds=_seconds())(parser.math)()
    except TimeoutException:
        raise
    except Exception:  # its error listener raises Exception itself
        return False
    return parser.getCurrentToken().type == Token.EOF


def _as_formula(text: str) -> str:
    return text if _LATEX.search(text) else f"${text}$"


def _latex(text: str) -> str:
    """The text with the signs that math-verify does not know as LaTeX has them."""
    text = plain_digits(text)
    if text.isascii():
        return text
    text = _ROOT.sub(lambda root: f"\\sqrt{{{root[1] or root[2]}}}", text)
    return _RAISED.sub(lambda power: f"^{{{power[0].translate(_DOWN)}}}", text).translate(_SIGNS)


def _parse(text: str) -> list:
    from math_verify import parse

    return parse(text, parsing_timeout=_seconds(), raise_on_error=True)


def _seconds() -> int | None:
    """math-verify keeps time by a signal, which only the main thread gets."""
    return MATH_VERIFY_SECONDS if threading.current_thread() is threading.main_thread() else None
