"""Reward functions of your own, as TRL calls them: each takes a batch and returns one number per completion.

Every public function with a parameter `completions` counts. The columns of your data, such as `answer`, come along as
lists of the same length.
"""

import re

SOLUTION = re.compile(r"<SOLUTION>\s*(-?\d[\d,]*(?:\.\d+)?)\s*</SOLUTION>")
# Two whole numbers, one sign: not the end of a longer sum, nor a part of 1,150 or 0.5.
SUM = re.compile(r"(?<![\d.,])(?<![-+x/] )(\d+) ([-+x/]) (\d+) = (\d+)(?![\d.,]*\d)")
LONGEST = 60


def correct_answer(completions, answer, **columns):
    """2 for the true answer between the solution tags."""
    return [2.0 if _solution(each) == _number(true) else 0.0 for each, true in zip(completions, answer, strict=True)]


def right_sums(completions, **columns):
    """Of the sums that are worked out, such as `12 + 7 = 19`, the share that is right; 0 without any."""
    found = [[_is_right(*sum_) for sum_ in SUM.findall(_text(each))] for each in completions]
    return [sum(each) / len(each) if each else 0.0 for each in found]


def not_too_long(completions, **columns):
    """Half a point off beyond 60 words."""
    return [-0.5 if len(_text(each).split()) > LONGEST else 0.0 for each in completions]


def _text(completion):
    return completion[0]["content"]


def _number(text):
    return float(str(text).replace(",", ""))


def _solution(completion):
    found = SOLUTION.findall(_text(completion))
    return _number(found[0]) if len(found) == 1 else None


def _is_right(left, sign, right, result):
    left, right, result = int(left), int(right), int(result)
    if sign == "/":
        return left == right * result
    return {"+": left + right, "-": left - right, "x": left * right}[sign] == result
