"""The `robust` variant, the one to train with: the tutorials' names and scales, read by the project's own parser.

A reply is parsed through formats.py and its answer compared as the accuracy metrics compare it, so among replies of
the same layout a right answer never earns less than a wrong one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from harness import answers, formats
from harness.formats import Parsed
from harness.language import label, prose
from harness.types import Equality, Format


@dataclass(frozen=True)
class Scale:
    """What a preset pays, by outcome. `near` are (largest relative error, pay) of wrong numbers, nearest first."""

    exact: float = 3.0
    tag_once: float = 0.5
    tag_else: float = -1.0
    no_layout: float = -2.0
    right: float = 5.0
    near: tuple[tuple[float, float], ...] = ((0.1, 2.0), (0.2, 1.5))
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
        near=((0.1, 0.5), (0.2, 0.25)),
        other_number=-1.0,
        no_number=-0.5,
        number_right=1.5,
        number_wrong=0.0,
        number_none=0.0,
    ),
    "qwen3": Scale(),
    "deepseek-r1": Scale(),
}
LANGUAGE_TARGET, LANGUAGE_COMMON, LANGUAGE_OTHER = 5.0, -3.0, -5.0
COMMON_LANGUAGES = ("en", "zh")
XML_TAG, XML_OUTSIDE_CHARACTER, XML_OUTSIDE_MOST = 0.125, 0.001, 0.5


@dataclass(frozen=True)
class Reply:
    """One reply as a reward function sees it: parsed once, with the true answer of its row."""

    text: str
    parsed: Parsed
    format: Format
    truth: str | None
    equality: Equality

    @property
    def is_right(self) -> bool:
        return answers.is_right(self.parsed.answer, self.truth, self.equality)

    @property
    def number(self) -> Fraction | None:
        return answers.number(self.parsed.answer or "")


def pays(preset: str, format: Format, equality: Equality, language: str) -> dict[str, Callable[..., float]]:
    """The functions of a preset in its order, each from (reply, true answer) to what it pays.

    They raise Unscorable where the true answer is None, or could not be compared with.
    """
    functions = dict(_XML) if preset == "xml" else _scaled(SCALES[preset])
    if preset == "deepseek-r1":
        functions["format_and_language_reward_func"] = lambda reply: _language(reply, language)

    def on_text(pay: Callable[[Reply], float]) -> Callable[[str, str | None], float]:
        return lambda text, truth: pay(
            Reply(text, formats.parse(text, format), format, None if truth is None else str(truth), equality)
        )

    return {name: on_text(pay) for name, pay in functions.items()}


def _scaled(scale: Scale) -> dict[str, Callable[[Reply], float]]:
    return {
        "match_format_exactly": lambda reply: scale.exact if reply.parsed.strict else 0.0,
        "match_format_approximately": lambda reply: _tags(reply, scale),
        "check_answer": lambda reply: _answer(reply, scale),
        "check_numbers": lambda reply: _number(reply, scale),
    }


def _tags(reply: Reply, scale: Scale) -> float:
    tags = len(reply.format.tags)
    once = round(reply.parsed.tag_share * tags)
    return once * scale.tag_once + (tags - once) * scale.tag_else


def _answer(reply: Reply, scale: Scale) -> float:
    right = reply.is_right
    if not reply.parsed.strict:
        return scale.no_layout
    if right:
        return scale.right
    given, truth = reply.number, answers.number(reply.truth)
    if given is None:
        return scale.no_number
    if truth:
        for error, pay in scale.near:
            if abs(given / truth - 1) <= error:
                return pay
    return scale.other_number


def _number(reply: Reply, scale: Scale) -> float:
    right = reply.is_right
    if reply.number is None and not right:
        return scale.number_none
    return scale.number_right if right else scale.number_wrong


def _language(reply: Reply, target: str) -> float:
    if not reply.parsed.strict:
        return LANGUAGE_OTHER
    spoken = label(prose(reply.parsed.reasoning))
    if spoken == target:
        return LANGUAGE_TARGET
    return LANGUAGE_COMMON if spoken in COMMON_LANGUAGES else LANGUAGE_OTHER


def _xml_tags(reply: Reply) -> float:
    tags = len(reply.format.tags)
    _, _, tail = reply.text.rpartition(reply.format.tags[-1])
    outside = len(tail.strip()) if reply.parsed.answer is not None else 0
    return round(reply.parsed.tag_share * tags) * XML_TAG - min(outside * XML_OUTSIDE_CHARACTER, XML_OUTSIDE_MOST)


def _xml_layout(reply: Reply) -> float:
    return 0.5 if reply.parsed.reasoning and reply.parsed.answer and reply.parsed.tag_share == 1.0 else 0.0


def _xml_integer(reply: Reply) -> float:
    return 0.5 if reply.number is not None and reply.number.denominator == 1 else 0.0


_XML: dict[str, Callable[[Reply], float]] = {
    "xmlcount_reward_func": _xml_tags,
    "soft_format_reward_func": _xml_layout,
    "strict_format_reward_func": lambda reply: 0.5 if reply.parsed.strict else 0.0,
    "int_reward_func": _xml_integer,
    "correctness_reward_func": lambda reply: 2.0 if reply.is_right else 0.0,
}
