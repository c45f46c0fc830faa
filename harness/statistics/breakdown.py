"""Differences by part of the problems, and whether the rewards tell correct answers from wrong ones."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from harness.statistics import stats
from harness.statistics.pairs import by_problem, paired_values
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Completion, Evaluation

MOST_KINDS = 20
NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True)
class Part:
    """A part of the problems: the number of pairs (problems, where the sides have different numbers of replies), each
    side's share correct and in the required format, and the paired difference."""

    name: str
    n: int
    before: float
    after: float | None
    delta: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RewardSeparation:
    """A reward function's mean for replies with a correct and a wrong answer, on one side.

    `separation` is the probability that a correct reply earns more than a wrong one, half of the ties counted (the area
    under the ROC curve; Mann and Whitney 1947). `high_for_wrong` wrong replies earn at least as much as the median
    correct one, `low_for_correct` correct ones at most as much as the median wrong one.
    """

    name: str
    correct: float
    wrong: float
    n_correct: int
    n_wrong: int
    separation: float
    high_for_wrong: int
    low_for_correct: int


def parts(sides: Sequence[Evaluation]) -> dict[str, tuple[Part, ...]]:
    """The share correct and in the required format by kind of problem, length of the question and numbers in it.

    Of the first and the last side. We do not group by reply: that alone would look like change.
    """
    paired = paired_values(sides[0], sides[-1])
    if ACCURACY_STRICT not in paired.before.keys() & paired.after.keys():
        return {}
    before, after = paired.before[ACCURACY_STRICT], paired.after[ACCURACY_STRICT]
    scored = np.flatnonzero(~np.isnan(before) & ~np.isnan(after))
    if not len(scored):
        return {}
    completions = [paired.asked[place] for place in scored]
    before, after, problems = before[scored], after[scored], paired.problems[scored]
    groups = {
        "kind of problem": _kinds(completions),
        "words in the question": _thirds(completions, lambda text: len(text.split())),
        "numbers in the question": _thirds(completions, lambda text: len(NUMBER.findall(text))),
    }
    return {
        title: tuple(
            _paired_part(name, before[places], after[places], problems[places])
            if len(sides) > 1
            else Part(name, len(places), float(before[places].mean()), None)
            for name, places in named.items()
        )
        for title, named in groups.items()
        if len(named) > 1
    }


def by_language(side: Evaluation) -> tuple[Part, ...]:
    """A side's replies by the language of their reasoning, most frequent first, with their share of correct answers."""
    values: dict[str, list[float]] = {}
    for score in side.scores:
        if score.scores.get(ACCURACY_FLEXIBLE) is not None:
            values.setdefault(score.language, []).append(score.scores[ACCURACY_FLEXIBLE])
    ordered = sorted(values.items(), key=lambda item: -len(item[1]))
    return tuple(Part(language, len(each), float(np.mean(each)), None) for language, each in ordered)


def among_finished(side: Evaluation) -> dict[str, Part]:
    """The shares of correct answers among a side's replies that were not cut off; empty where none was."""
    whole = [score.scores for score in side.scores if score.scores.get("truncated") == 0]
    if not whole or len(whole) == len(side.scores):
        return {}
    values = {
        name: [scores[name] for scores in whole if scores.get(name) is not None]
        for name in (ACCURACY_FLEXIBLE, ACCURACY_STRICT)
    }
    return {name: Part(name, len(each), float(np.mean(each)), None) for name, each in values.items() if each}


def reward_separations(side: Evaluation) -> tuple[RewardSeparation, ...]:
    """How each reward function of a side, and all of them together, separate correct and wrong answers."""
    names = [name for name in side.metrics if name.startswith("reward/")]
    correct = np.array([score.scores.get(ACCURACY_FLEXIBLE) for score in side.scores], dtype=float)
    rewards = {name: np.array([score.scores.get(name) for score in side.scores], dtype=float) for name in names}
    if len(names) > 1:
        rewards["all together"] = total_rewards(side)
    separations = (_separation(name.removeprefix("reward/"), values, correct) for name, values in rewards.items())
    return tuple(each for each in separations if each)


def total_rewards(side: Evaluation) -> np.ndarray:
    """The sum of all reward functions for each reply of a side; NaN where none has a value."""
    names = [name for name in side.metrics if name.startswith("reward/")]
    rewards = np.array([[score.scores.get(name) for name in names] for score in side.scores], dtype=float)
    rewards = rewards.reshape(len(side.scores), len(names))
    return np.where(np.isnan(rewards).all(axis=1), np.nan, np.nansum(rewards, axis=1))


def _separation(name: str, rewards: np.ndarray, correct: np.ndarray) -> RewardSeparation | None:
    has_reward = ~np.isnan(rewards)
    hits, misses = rewards[has_reward & (correct == 1)], rewards[has_reward & (correct == 0)]
    if not len(hits) or not len(misses):
        return None
    ranks = scipy_stats.rankdata(np.concatenate([hits, misses]))
    above = ranks[: len(hits)].sum() - len(hits) * (len(hits) + 1) / 2
    return RewardSeparation(
        name,
        float(hits.mean()),
        float(misses.mean()),
        len(hits),
        len(misses),
        float(above / (len(hits) * len(misses))),
        int((misses >= np.median(hits)).sum()),
        int((hits <= np.median(misses)).sum()),
    )


def _kinds(completions: Sequence[Completion]) -> dict[str, list[int]]:
    """Places by kind, the most frequent first, the rest of many kinds together."""
    places: dict[str, list[int]] = {}
    for place, completion in enumerate(completions):
        if completion.kind:
            places.setdefault(completion.kind, []).append(place)
    ordered = sorted(places, key=lambda kind: (-len(places[kind]), kind))
    shown = {kind: places[kind] for kind in sorted(ordered[:MOST_KINDS])}
    rest = [place for kind in ordered[MOST_KINDS:] for place in places[kind]]
    return shown | ({f"… (+{len(ordered) - MOST_KINDS})": rest} if rest else {})


def _thirds(completions: Sequence[Completion], size: Callable[[str], int]) -> dict[str, list[int]]:
    """Places in three parts, as even as equal sizes let them be, named by their range."""
    sizes = np.array([size(completion.question) for completion in completions])
    edges = np.quantile(sizes, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, sizes, side="left")
    parts = {}
    for which in range(3):
        places = np.flatnonzero(third == which)
        if len(places):
            low, high = sizes[places].min(), sizes[places].max()
            parts[str(low) if low == high else f"{low}–{high}"] = places.tolist()
    return parts


def _paired_part(name: str, before: np.ndarray, after: np.ndarray, problems: np.ndarray) -> Part:
    deltas = by_problem(after - before, problems)
    low, high = stats.paired_interval(deltas, bounded=True)
    return Part(name, len(before), float(before.mean()), float(after.mean()), float((after - before).mean()), low, high)
