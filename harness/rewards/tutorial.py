"""The `tutorial` variant: the scores of the tutorials' reward functions, oddities included, in linear time.

Their regular expressions backtrack for seconds on degenerate replies. Each reader here finds the same spans with
string searches; the tests compare them with the expressions themselves and with recorded scores.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from harness.parsing.answers import NO_TRUTH, Unscorable
from harness.parsing.language import raw_label
from harness.rewards.reward_scores import RewardScore

OPEN, CLOSE = "<start_working_out>", "<end_working_out>"
SOLUTION, SOLUTION_END = "<SOLUTION>", "</SOLUTION>"
THINK, THINK_END = "<think>", "</think>"

_DIGITS = re.compile(r"[\d.]+")
_SIGNED = re.compile(r"-?[\d.,]+")
_SPACES = re.compile(r"\s*")

# The functions that need the true answer.
READ_THE_ANSWER = {"check_answer", "check_numbers", "correctness_reward_func"}


@dataclass(frozen=True)
class Scale:
    """What a preset gives, by outcome; `near` is for a ratio to the truth within 10 % and within 20 %."""

    tag_else: float
    no_layout: float
    same: float
    same_stripped: float
    near: tuple[float, float]
    other_number: float
    no_number: float
    number_none: float
    number_right: float
    number_wrong: float


GEMMA3 = Scale(-0.5, 0, 3.0, 1.5, (0.5, 0.25), -1.0, -0.5, 0, 1.5, 0.0)
HARSH = Scale(-1.0, -2.0, 5.0, 3.5, (2.0, 1.5), -2.5, -4.5, -2.5, 3.5, -1.5)


def gemma3_answer(text: str) -> str | None:
    r"""Group 1 of `^\s*OPEN.+?CLOSE.*?<SOLUTION>(.+?)</SOLUTION>\s*$`, multi-line, dot all.

    Only the first opening tag of a line can match, and only the first of those: what follows a later one also
    follows it. The same holds for the closing and the solution tag behind it.
    """
    start = _first_at_line_start(text, OPEN)
    if start < 0:
        return None
    return _solution(text, text.find(CLOSE, start + len(OPEN) + 1), eos="")


def qwen3_answer(text: str, eos: str) -> str | None:
    r"""Group 1 of `CLOSE.*?<SOLUTION>(.+?)</SOLUTION>\s*(?:EOS)?\s*$`, multi-line, dot all."""
    return _solution(text, text.find(CLOSE), eos)


def think_answer(text: str) -> str | None:
    """All that follows the first closing tag."""
    _, closed, tail = text.partition(THINK_END)
    return tail if closed else None


def gemma3_number(text: str) -> str | None:
    r"""Group 1 of `<SOLUTION>.*?([\d.]+)`, dot all."""
    return _first(_DIGITS, text, text.find(SOLUTION))


def qwen3_number(text: str) -> str | None:
    r"""Group 1 of `<SOLUTION>.*?\s*(-?[\d.,]+)`, dot all."""
    return _first(_SIGNED, text, text.find(SOLUTION))


def think_number(text: str) -> str | None:
    r"""Group 1 of `.*?\s*(-?[\d.,]+)`, dot all: the first run anywhere."""
    return _first(_SIGNED, text, 0)


def xml_answer(text: str) -> str:
    """What stands between the last `<answer>` and the next `</answer>`; the whole text where there is no tag."""
    return text.rpartition("<answer>")[2].partition("</answer>")[0].strip()


@dataclass(frozen=True)
class Reader:
    """How the tutorial of a preset reads a reply; `eos` is the token that qwen3's layout allows at the end."""

    preset: str
    eos: str

    def __call__(self, text: str, truth: str | None, finished: bool = True) -> "Reply":
        """Read one completion; the tutorials do not ask whether it is `finished`."""
        return Reply(text, truth, self)

    def answer(self, text: str) -> str | None:
        """What the preset's own layout gives as the answer."""
        if self.preset == "qwen3":
            return qwen3_answer(text, self.eos)
        return {"gemma3": gemma3_answer, "deepseek-r1": think_answer, "xml": xml_answer}[self.preset](text)

    @staticmethod
    def truth_of(answer: object) -> str | None:
        """A true answer, None where it is no text: the tutorials' functions treat a number as they treat None."""
        return answer if isinstance(answer, str) else None


class Reply(NamedTuple):
    """One completion as a reward function sees it."""

    text: str
    truth: str | None
    reader: Reader

    @property
    def extracted(self) -> str | None:
        return self.reader.answer(self.text)


def scorers(preset: str) -> dict[str, Callable[[Reply], RewardScore]]:
    """The functions of a preset in its order, each from a reply to its score.

    They raise Unscorable where the tutorials' raise: at a true answer that is no text.
    """
    if preset == "xml":
        return dict(_XML)
    scale, tags, number = {
        "gemma3": (GEMMA3, (OPEN, CLOSE, SOLUTION, SOLUTION_END), gemma3_number),
        "qwen3": (HARSH, (CLOSE, SOLUTION, SOLUTION_END), qwen3_number),
        "deepseek-r1": (HARSH, (THINK, THINK_END), think_number),
    }[preset]
    functions = {
        "match_format_exactly": lambda reply: _matched(reply, 3.0),
        "match_format_approximately": lambda reply: _tags(reply.text, tags, scale),
        "check_answer": lambda reply: _check_answer(reply.extracted, reply.truth, scale),
        "check_numbers": lambda reply: _check_numbers(number(reply.text), reply.truth, scale, preset != "gemma3"),
    }
    if preset == "deepseek-r1":
        functions["format_and_language_reward_func"] = lambda reply: _language(reply.text)
    return functions


def _matched(reply: Reply, value: float) -> RewardScore:
    return RewardScore(0, "no match") if reply.extracted is None else RewardScore(value, "the layout matches")


def _tags(text: str, tags: tuple[str, ...], scale: Scale) -> RewardScore:
    once = sum([text.count(tag) == 1 for tag in tags])
    return RewardScore(0.5 * once + scale.tag_else * (len(tags) - once), f"{once} of {len(tags)} tags exactly once")


def _check_answer(guess: str | None, truth: str | None, scale: Scale) -> RewardScore:
    if guess is None:
        return RewardScore(scale.no_layout, "no match")
    if truth is None:
        raise Unscorable(NO_TRUTH)
    if guess == truth:
        return RewardScore(scale.same, "equal as text")
    if guess.strip() == truth.strip():
        return RewardScore(scale.same_stripped, "equal as text after stripping")
    try:
        ratio = float(guess) / float(truth)
    except (ValueError, ZeroDivisionError, OverflowError):
        return RewardScore(scale.no_number, "float() cannot read it, or the true answer is 0")
    if 0.9 <= ratio <= 1.1:
        return RewardScore(scale.near[0], "within 10 % of the true answer")
    if 0.8 <= ratio <= 1.2:
        return RewardScore(scale.near[1], "within 20 % of the true answer")
    return RewardScore(scale.other_number, "another number")


def _check_numbers(guess: str | None, truth: str | None, scale: Scale, cut_commas: bool) -> RewardScore:
    if guess is None:
        return RewardScore(scale.number_none, "no number found")
    try:
        true = float((truth or "").strip())
        given = float(guess.strip().replace(",", "") if cut_commas else guess.strip())
    except ValueError:
        return RewardScore(0, f"float() cannot read '{guess[:40]}' or the true answer")
    if given == true:
        return RewardScore(scale.number_right, f"the first number found is '{guess[:40]}', which is right")
    return RewardScore(scale.number_wrong, f"the first number found is '{guess[:40]}', which is wrong")


def _language(text: str) -> RewardScore:
    spoken = raw_label(text)
    return RewardScore({"id": 5.0, "en": -3.0, "zh": -3.0}.get(spoken, -5.0), f"langid labels the whole reply {spoken}")


def _xml_count(text: str) -> RewardScore:
    count = 0.0
    if text.count("<reasoning>\n") == 1:
        count += 0.125
    if text.count("\n</reasoning>\n") == 1:
        count += 0.125
    if text.count("\n<answer>\n") == 1:
        count += 0.125
        count -= len(text.split("\n</answer>\n")[-1]) * 0.001
    if text.count("\n</answer>") == 1:
        count += 0.125
        count -= (len(text.split("\n</answer>")[-1]) - 1) * 0.001
    return RewardScore(count, "0.125 a tag with its line breaks, less 0.001 a character behind the end")


def _soft(text: str) -> bool:
    r"""Whether `<reasoning>.*?</reasoning>\s*<answer>.*?</answer>` matches at the start, dots within a line.

    Of the closing tags on the first line only two can lead on: the first with `<answer>` behind it on the same
    line, and the last, whose white space may cross to later lines.
    """
    if not text.startswith("<reasoning>"):
        return False
    line = text.find("\n")
    end = len(text) if line < 0 else line
    place = text.find("</reasoning>", len("<reasoning>"), end)
    same_line_seen = False
    while place >= 0:
        after = _SPACES.match(text, place + len("</reasoning>")).end()
        if text.startswith("<answer>", after) and not (after < end and same_line_seen):
            same_line_seen = same_line_seen or after < end
            stop = text.find("\n", after)
            if text.find("</answer>", after + len("<answer>"), len(text) if stop < 0 else stop) >= 0:
                return True
        place = text.find("</reasoning>", place + 1, end)
    return False


def _strict(text: str) -> bool:
    r"""Whether `^<reasoning>\n.*?\n</reasoning>\n<answer>\n.*?\n</answer>\n$` matches, dots within a line."""
    lines = text.split("\n", 8)
    return (
        len(lines) in (7, 8)
        and lines[0:1] + lines[2:4] + lines[5:6] == ["<reasoning>", "</reasoning>", "<answer>", "</answer>"]
        and not any(lines[6:])
    )


def _first(pattern: re.Pattern, text: str, start: int) -> str | None:
    found = pattern.search(text, start) if start >= 0 else None
    return found[0] if found else None


def _first_at_line_start(text: str, tag: str) -> int:
    """The first `tag` with nothing but white space before it on its line; on each line only the first can be it."""
    place, line = text.find(tag), 0
    while place >= 0:
        line = text.rfind("\n", line, place) + 1 or line
        if not text[line:place].strip():
            return place
        line = text.find("\n", place) + 1
        place = text.find(tag, line) if line else -1
    return -1


def _solution(text: str, closed: int, eos: str) -> str | None:
    opened = text.find(SOLUTION, closed + len(CLOSE)) if closed >= 0 else -1
    if opened < 0:
        return None
    begin = opened + len(SOLUTION)
    place = text.find(SOLUTION_END, begin + 1)
    while place >= 0:
        if _ends_a_line(text, place + len(SOLUTION_END), eos):
            return text[begin:place]
        place = text.find(SOLUTION_END, place + 1)
    return None


def _ends_a_line(text: str, place: int, eos: str) -> bool:
    r"""Whether `\s*(?:EOS)?\s*$` matches at `place`, multi-line."""
    end = _SPACES.match(text, place).end()
    if end == len(text) or "\n" in text[place:end]:
        return True
    return bool(eos) and text.startswith(eos, end) and _ends_a_line(text, end + len(eos), "")


def _half(holds: bool, why: str, why_not: str) -> RewardScore:
    return RewardScore(0.5, why) if holds else RewardScore(0.0, why_not)


def _xml_correct(reply: Reply) -> RewardScore:
    if reply.extracted == reply.truth:
        return RewardScore(2.0, "equal as text")
    return RewardScore(0.0, "not equal as text")


_XML: dict[str, Callable[[Reply], RewardScore]] = {
    "xmlcount_reward_func": lambda reply: _xml_count(reply.text),
    "soft_format_reward_func": lambda reply: _half(_soft(reply.text), "matches on one line", "no match"),
    "strict_format_reward_func": lambda reply: _half(_strict(reply.text), "matches line by line", "no match"),
    "int_reward_func": lambda reply: _half(reply.extracted.isdigit(), "isdigit() holds", "isdigit() does not hold"),
    "correctness_reward_func": _xml_correct,
}
