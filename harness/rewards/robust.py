"""The `robust` variant, the one to train with: the tutorials' names and scales, read by the project's own parser.

A reply is parsed through parsing/formats.py and its answer compared as the accuracy metrics compare it, so among
replies of the same format a correct answer never earns less than a wrong one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Number

from harness.parsing import answers, formats
from harness.parsing.answers import Unscorable
from harness.parsing.language import UNDETERMINED, label, prose
from harness.rewards.reward_scores import RewardScore
from harness.types import Equality, Format


@dataclass(frozen=True)
class Scale:
    """What a preset gives, by outcome. `near` are (n, score) of numbers wrong by at most 1/n, nearest first."""

    exact: float = 3.0
    tag_once: float = 0.5
    tag_else: float = -1.0
    no_layout: float = -2.0
    right: float = 5.0
    near: tuple[tuple[int, float], ...] = ((10, 2.0), (5, 1.5))
    other_number: float = -2.5
    no_number: float = -4.5
    number_right: float = 3.5
    number_wrong: float = -1.5
    number_none: float = -2.5


SCALES = {
    "gemma3": Scale(
        tag_else=-0.5,
        no_layout=0.0,
        right=3.0,
        near=((10, 0.5), (5, 0.25)),
        other_number=-1.0,
        no_number=-0.5,
        number_right=1.5,
        number_wrong=0.0,
        number_none=0.0,
    ),
    "qwen3": Scale(),
    "deepseek-r1": Scale(),
}
LANGUAGE_TARGET, LANGUAGE_OTHER, LANGUAGE_MALFORMED = 5.0, -3.0, -5.0
XML_TAG, XML_OUTSIDE_CHARACTER, XML_OUTSIDE_MOST = 0.125, 0.001, 0.5
READ_THE_ANSWER = {"check_answer", "check_numbers", "int_reward_func", "correctness_reward_func"}


@dataclass(frozen=True)
class Reader:
    """How completions are read: `prefix` is how the prompt begins each reply, `eos` a token that ends one as any known
    model's does."""

    format: Format
    equality: Equality
    language: str
    prefix: str
    eos: str | None

    def __call__(self, text: str, truth: str | None, finished: bool = True) -> "Reply":
        """Read one completion; not `finished` is one that was cut off at the token limit."""
        return Reply(text, truth, self, finished)

    @staticmethod
    def truth_of(answer: object) -> str | None:
        """A true answer, a text or a number, as text; NaN stands for a missing one."""
        if isinstance(answer, str):
            return answer
        is_number = isinstance(answer, Number) and not isinstance(answer, bool)
        try:
            return str(answer) if is_number and answer == answer else None
        except (ValueError, ArithmeticError):  # an integer too long to write, a signalling NaN
            return None


class Reply:
    """One reply as reward functions see it: parsed and compared with its true answer once for all of them."""

    __slots__ = ("_right", "parsed", "reader", "text", "truth", "unscorable")

    def __init__(self, text: str, truth: str | None, reader: Reader, finished: bool):
        self.text, self.truth, self.reader = text, truth, reader
        self.parsed = formats.parse(reader.prefix + text, reader.format, reader.eos, finished)
        try:
            self._right = answers.is_right(self.parsed.given, truth, reader.equality)
        except Unscorable as error:
            self._right, self.unscorable = None, error

    @property
    def right(self) -> bool:
        """Whether the answer is the true one. Raises Unscorable if there is none, or comparing timed out."""
        if self._right is None:
            raise self.unscorable
        return self._right

    @property
    def number(self) -> Fraction | None:
        return self.parsed.given.number if self.parsed.given else None

    @property
    def extracted(self) -> str | None:
        return self.parsed.answer


def scorers(preset: str) -> dict[str, Callable[[Reply], RewardScore]]:
    """The functions of a preset in its order, each from a reply to its score.

    They raise Unscorable if the true answer is needed and missing, or could not be compared with.
    """
    functions = dict(_XML) if preset == "xml" else _scaled(SCALES[preset])
    if preset == "deepseek-r1":
        functions["format_and_language_reward_func"] = _language
    return functions


def _scaled(scale: Scale) -> dict[str, Callable[[Reply], RewardScore]]:
    return {
        "match_format_exactly": lambda reply: _layout(reply, scale.exact),
        "match_format_approximately": lambda reply: _tags(reply, scale),
        "check_answer": lambda reply: _answer(reply, scale),
        "check_numbers": lambda reply: _number(reply, scale),
    }


def _layout(reply: Reply, value: float) -> RewardScore:
    if reply.parsed.strict:
        return RewardScore(value, "the reply is exactly the layout")
    return RewardScore(0.0, "the reply is not exactly the layout")


def _tags(reply: Reply, scale: Scale) -> RewardScore:
    """Each tag that the reply itself has to write; the one that its prompt ended with scores nothing."""
    own = 1 if reply.reader.prefix else 0
    in_place = reply.parsed.in_place[own:]
    kept = sum(in_place)
    pay = kept * scale.tag_once + (len(in_place) - kept) * scale.tag_else
    return RewardScore(pay, f"{kept} of {len(in_place)} tags once and in order")


def _answer(reply: Reply, scale: Scale) -> RewardScore:
    right = reply.right
    if not reply.parsed.strict:
        return RewardScore(scale.no_layout, "the reply is not exactly the layout")
    if right:
        return RewardScore(scale.right, "the answer is right")
    given, truth = reply.number, answers.number(reply.truth)
    if given is None:
        return RewardScore(scale.no_number, "the answer is not one number")
    if truth:
        # Whole numbers on both sides: exact at any size, and several times faster than fractions.
        size = abs(truth.numerator * given.denominator)
        distance = abs(given.numerator * truth.denominator - truth.numerator * given.denominator)
        for parts, value in scale.near:
            if distance * parts <= size:
                return RewardScore(value, f"wrong, within {100 // parts} % of the true answer")
    return RewardScore(scale.other_number, "another number")


def _number(reply: Reply, scale: Scale) -> RewardScore:
    if reply.right:
        return RewardScore(scale.number_right, "the answer is right")
    if reply.number is None:
        return RewardScore(scale.number_none, "the answer is not one number")
    return RewardScore(scale.number_wrong, "another number")


def _language(reply: Reply) -> RewardScore:
    if not reply.parsed.strict:
        return RewardScore(LANGUAGE_MALFORMED, "the reply is not exactly the layout")
    spoken = label(prose(reply.parsed.reasoning))
    if spoken == reply.reader.language:
        return RewardScore(LANGUAGE_TARGET, f"the reasoning is in {spoken}")
    if spoken == UNDETERMINED:
        return RewardScore(LANGUAGE_MALFORMED, "the reasoning has no words")
    return RewardScore(LANGUAGE_OTHER, f"the reasoning is in {spoken}, not in {reply.reader.language}")


def _xml_tags(reply: Reply) -> RewardScore:
    kept, outside = sum(reply.parsed.in_place), len(reply.parsed.trailing)
    value = kept * XML_TAG - min(outside * XML_OUTSIDE_CHARACTER, XML_OUTSIDE_MOST)
    return RewardScore(value, f"{kept} of 4 tags once and in order, {outside} characters behind the layout")


def _xml_soft(reply: Reply) -> RewardScore:
    if reply.parsed.reasoning and reply.parsed.answer and all(reply.parsed.in_place):
        return RewardScore(0.5, "each tag once and in order, both parts filled")
    return RewardScore(0.0, "a tag is missing, repeated or out of order, or a part is empty")


def _xml_integer(reply: Reply) -> RewardScore:
    if not reply.right:
        return RewardScore(0.0, "the answer is not right")
    if reply.number is None or reply.number.denominator != 1:
        return RewardScore(0.0, "the answer is not an integer")
    return RewardScore(0.5, "the answer is the right integer")


def _xml_correct(reply: Reply) -> RewardScore:
    return RewardScore(2.0, "the answer is right") if reply.right else RewardScore(0.0, "the answer is not right")


_XML: dict[str, Callable[[Reply], RewardScore]] = {
    "xmlcount_reward_func": _xml_tags,
    "soft_format_reward_func": _xml_soft,
    "strict_format_reward_func": lambda reply: _layout(reply, 0.5),
    "int_reward_func": _xml_integer,
    "correctness_reward_func": _xml_correct,
}
