"""The chance that the majority of k of a problem's replies is right, maj@k (Wang et al. 2022, arXiv:2203.11171)."""

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import cache, lru_cache

import numpy as np

# With more of them the number of ways to choose them is beyond the largest float.
MOST_VOTES = 512
KEPT = 4096


def majority_at(labels: Sequence[Hashable | None], right: Sequence[bool], ks: Sequence[int]) -> list[float]:
    """The probability, for each k, that the majority of k of a problem's replies is right.

    `labels` says which replies give the same answer, None that a reply gives none, and `right` which are right. The
    k replies are sampled without replacement. One of the answers with most votes wins, each as likely as the others;
    without an answer there is no right one. Raises ValueError for a k above the number of replies, or MOST_VOTES.
    """
    most = max(ks)
    if most > min(len(labels), MOST_VOTES):
        raise ValueError(f"maj@{most} needs {most} replies to a problem, not {len(labels)}, and {MOST_VOTES} at most")
    votes = Counter(label for label in labels if label is not None)
    silent = len(labels) - votes.total()
    chances = np.zeros(most + 1)
    for label in {label for label, hit in zip(labels, right, strict=True) if hit}:
        others = tuple(sorted(count for other, count in votes.items() if other != label))
        chances = chances + _chances_to_win(votes[label], others, silent, most)
    return [min(float(chances[k]), 1.0) for k in ks]


@lru_cache(KEPT)
def _chances_to_win(own: int, others: tuple[int, ...], silent: int, most: int) -> np.ndarray:
    """The probability that an answer with so many votes wins, for each number of replies from 0 to `most`.

    The ways to choose k replies so that the answer has `top` votes, and no other has more, are the coefficient of
    x^k in a product of polynomials, one for each answer. Those with fewer votes in all than `top` choose freely. One
    that can tie is multiplied by y where it does: the integral of y^ties from 0 to 1 is the share 1/(ties + 1), and
    Gauss and Legendre's quadrature of a polynomial is exact.
    """
    replies = own + sum(others) + silent
    # x is counted in parts of this size, by which no number is too large for a float.
    part = most / replies
    wins = np.zeros(most + 1)
    for top in range(1, min(own, most) + 1):
        rivals = [count for count in others if count >= top]
        free = replies - own - sum(rivals)
        nodes, weights = _quadrature(min(len(rivals), most // top) // 2 + 1)
        ways = np.tile(_ways(free, most - top, part), (len(nodes), 1))
        for count in rivals:
            chosen = _ways(count, top, part)
            ties = np.where(np.arange(top + 1) == top, nodes[:, None], 1.0)
            ways = _product(ways, chosen * ties)
        wins[top:] += _ways(own, top, part)[top] * (weights @ ways)
    return wins / _ways(replies, most, part)


@cache
def _quadrature(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre's quadrature from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2


@lru_cache(KEPT)
def _ways(count: int, most: int, part: float) -> np.ndarray:
    """The ways to choose 0 to `most` of `count` replies, each as the coefficient of a power of x."""
    steps = np.arange(most)
    return np.concatenate(([1.0], np.cumprod(np.maximum(count - steps, 0) / (steps + 1) * part)))


def _product(ways: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The product of polynomials, a row each, as far as the first ones go."""
    product, size = np.zeros_like(ways), ways.shape[1]
    for power in range(min(factor.shape[1], size)):
        product[:, power:] += factor[:, power : power + 1] * ways[:, : size - power]
    return product
