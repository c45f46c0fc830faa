"""Whether an answer is the true one. Where a reply has its answer, statements.py says; what that says, reading.py."""

from fractions import Fraction
from typing import NamedTuple

from harness.parsing.mathematics import MATH_VERIFY_SECONDS, same_mathematics
from harness.parsing.numbers import LONGEST_ANSWER
from harness.parsing.reading import is_bare, is_calculation, number, plain
from harness.parsing.statements import explicit, worded
from harness.types import Equality

__all__ = ["Answer", "Unscorable", "equal", "is_right", "number"]

NO_TRUTH = "the row has no true answer"
# What a missing value becomes on its way through a table.
NO_ANSWERS = ("", "nan")


class Unscorable(Exception):
    """Raised if an answer cannot be scored; the message is the reason. Such a reply is left out and counted."""


class Answer(NamedTuple):
    """What a reply gives as its answer.

    `part`: the free text that it was read from, which math-verify reads; `points`: its reply groups thousands by
    points, as Indonesian does.
    """

    text: str
    part: str = ""
    points: bool = False

    @property
    def number(self) -> Fraction | None:
        """The one number that it states, or None."""
        return _number(self.text, self.points)


def is_right(answer: Answer | None, truth: str | None, equality: Equality) -> bool:
    """Whether an answer is the true one: none is wrong; no true answer raises Unscorable."""
    if truth is None or truth.strip().casefold() in NO_ANSWERS:
        raise Unscorable(NO_TRUTH)
    return answer is not None and equal(answer.text, truth, equality, answer.part, answer.points)


def equal(candidate: str, truth: str, equality: Equality, part: str = "", points: bool = False) -> bool:
    """Whether `candidate` is the true answer; raises Unscorable where the comparison timed out.

    `number` compares exactly, as rational numbers; arithmetic is left to math-verify. `math` does so where the true
    answer is a bare number and the candidate is one in any dress, and else asks math-verify about `part`, the free text
    that the candidate was read from, or the candidate itself.
    """
    candidate, truth = candidate.strip(), truth.strip()
    if candidate == truth:
        return True
    if len(candidate) > LONGEST_ANSWER:
        return False
    if equality == "math":
        return _same_in_mathematics(candidate, truth, part or candidate, points)
    right = number(truth)
    if right is None:
        return plain(candidate) == plain(truth)
    given = _number(candidate, points)
    if given is not None:
        return given == right
    calculation = explicit(candidate) or candidate
    return is_calculation(calculation) and _verified(calculation, calculation, truth)


def _number(text: str, points: bool) -> Fraction | None:
    """The number that a text is, else that it states."""
    given = number(text, points)
    if given is None and (statement := explicit(text)):
        given = number(statement, points)
    return given


def _same_in_mathematics(candidate: str, truth: str, part: str, points: bool) -> bool:
    gold = explicit(truth) or truth
    statement = explicit(candidate) or candidate
    word = worded(part) if explicit(part) is None else None
    if plain(gold) in (plain(statement), (word or statement).casefold()):
        return True
    right = number(gold) if is_bare(gold) else None
    given = None if right is None or "%" in statement or "!" in statement else number(statement, points)
    if given is not None and (given == right or (_is_decimal(given) and _is_decimal(right))):
        return given == right
    return _verified(part, statement, truth)


def _is_decimal(value: Fraction) -> bool:
    """Whether a number can be written out; others may have been rounded, which math-verify decides."""
    return 10**LONGEST_ANSWER % value.denominator == 0


def _verified(part: str, candidate: str, truth: str) -> bool:
    same = same_mathematics(part, candidate, truth)
    if same is None:
        raise Unscorable(f"math-verify took over {MATH_VERIFY_SECONDS} s")
    return same
