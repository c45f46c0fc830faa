"""pass@k and maj@k, of several replies to one problem."""

from collections import defaultdict
from collections.abc import Sequence

from harness.parsing import answers
from harness.statistics import majority, stats
from harness.types import ACCURACY_FLEXIBLE, Score


def metrics(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Compute pass@k and maj@k of every problem, by name and problem; empty where problems have one reply each.

    k doubles from 2 up to the number of replies, for maj@k to MOST_VOTES; a problem with fewer replies, or with one
    that could not be scored, is left out.
    """
    by_problem = defaultdict(list)
    for score in scores:
        by_problem[score.problem_id].append(score)
    most = max(map(len, by_problem.values()), default=0)
    whole = {
        problem: replies
        for problem, replies in by_problem.items()
        if len(replies) == most and all(reply.scores.get(ACCURACY_FLEXIBLE) is not None for reply in replies)
    }
    if most < 2 or not whole:
        return {}
    ks = sorted({most, *(2**power for power in range(1, most.bit_length()))})
    voted = [k for k in ks if k <= majority.MOST_VOTES]
    chances = {problem: _majority_at(voted, replies) for problem, replies in whole.items()}
    values = {}
    for k in ks:
        values[f"pass@{k}"] = {problem: _pass_at(k, replies) for problem, replies in whole.items()}
        if k in voted:
            values[f"maj@{k}"] = {problem: each[k] for problem, each in chances.items()}
    return values


def _pass_at(k: int, replies: list[Score]) -> float:
    return stats.pass_at_k(len(replies), sum(reply.scores[ACCURACY_FLEXIBLE] == 1 for reply in replies), k)


def _majority_at(ks: list[int], replies: list[Score]) -> dict[int, float]:
    """The chance for each k. Correct answers count as one, however they are written; so do equal numbers."""
    right = [reply.scores[ACCURACY_FLEXIBLE] == 1 for reply in replies]
    labels = [True if hit else _label(reply.extracted) for hit, reply in zip(right, replies, strict=True)]
    return dict(zip(ks, majority.majority_at(labels, right, ks), strict=True))


def _label(extracted: str | None) -> object:
    if extracted is None:
        return None
    number = answers.number(extracted)
    return extracted.strip() if number is None else str(number)
