"""Whether training sees what is evaluated: the same texts, which are left out, or near copies, which are reported.

Near copies are found as PaLM's authors found them (Chowdhery et al. 2022, section 8): by the share of a problem's
8-grams of words that are somewhere in the training. They asked for 70 %; half is enough here, as a word problem
has some 45 words, and each changed one breaks eight 8-grams. All numbers count as one word, so that a problem with
other numbers is found too: 3 of GSM8K's 1,319 test problems are such copies of its training problems. GPT-3's 13-grams
(Brown et al. 2020) find one of the three.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from harness.findings import NearCopies, NearCopy
from harness.types import Problem

WORDS, SHARE, EXAMPLES = 8, 0.5, 5
LONGEST_EXAMPLE = 200
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
# A word is a run of letters or digits; of scripts that are written without spaces, each character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


def normalised(text: str) -> str:
    """A question without differences of case, white space and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold().split())


def without(problems: Iterable[Problem], evaluated: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems whose question is not evaluated."""
    asked = {normalised(each.question) for each in evaluated}
    return tuple(each for each in problems if normalised(each.question) not in asked)


def near_copies(trained: Sequence[Problem], evaluated: Sequence[Problem]) -> NearCopies:
    """The evaluated problems with a near copy in the training, the nearest first. Linear in the length of all texts."""
    seen = set().union(*(_grams(each.question) for each in trained))
    shares = []
    for problem in evaluated:
        grams = _grams(problem.question)
        share = sum(gram in seen for gram in grams) / len(grams) if grams else 0.0
        if share >= SHARE:
            shares.append((share, problem))
    nearest = sorted(shares, key=lambda each: -each[0])[:EXAMPLES]
    return NearCopies(
        len(shares), len(evaluated), tuple(_example(share, problem, trained) for share, problem in nearest)
    )


def _example(share: float, problem: Problem, trained: Sequence[Problem]) -> NearCopy:
    grams = _grams(problem.question)
    nearest = max(trained, key=lambda each: len(grams & _grams(each.question)))
    texts = (_shortened(each.question) for each in (problem, nearest))
    return NearCopy(*texts, round(share, 2))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}…"


def _grams(question: str) -> set[str]:
    """The 8-grams of a question's words; a shorter question is one gram."""
    words = ["0" if word.isdecimal() else word for word in _WORD.findall(normalised(question))]
    return {" ".join(words[at : at + WORDS]) for at in range(max(len(words) - WORDS, 0) + 1)} if words else set()
