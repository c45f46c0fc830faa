"""maj@k: the chance that the most frequent answer of k replies is right."""

import time
from itertools import combinations

import pytest
import scipy.stats

from harness.statistics import majority


def voted(drawn: tuple[tuple[str | None, bool], ...]) -> float:
    """The chance that the majority of the drawn (label, is right) is right."""
    answers = [each for each in drawn if each[0] is not None]
    most = max((answers.count(each) for each in answers), default=0)
    leaders = {each for each in answers if answers.count(each) == most}
    return sum(correct for _, correct in leaders) / max(len(leaders), 1)


@pytest.mark.parametrize("text", ["aabbc", "abcdef", "aab---", "bbbbaa", "------", "bbcc-", "aaaabbbccd-"])
def test_majority_at_k_is_the_mean_over_all_draws(text):
    labels = [None if each == "-" else each for each in text]
    for correct in ("a", "ac"):
        replies = [(label, label is not None and label in correct) for label in labels]
        ks = range(1, len(labels) + 1)
        draws = [list(combinations(replies, k)) for k in ks]
        expected = [sum(map(voted, each)) / len(each) for each in draws]
        assert majority.majority_at(labels, [hit for _, hit in replies], ks) == pytest.approx(expected)


@pytest.mark.parametrize(("right", "wrong", "k"), [(40, 24, 32), (300, 212, 512), (5200, 4800, 255)])
def test_majority_at_k_of_many_replies(right, wrong, k):
    """A majority of right and wrong replies, against the hypergeometric distribution."""
    votes = scipy.stats.hypergeom(right + wrong, right, k)
    labels = [True] * right + [False] * wrong
    (found,) = majority.majority_at(labels, labels, [k])
    assert found == pytest.approx(votes.sf(k // 2) + (votes.pmf(k // 2) / 2 if k % 2 == 0 else 0))


def test_majority_at_k_of_many_answers_takes_no_time():
    labels = [f"{number % 61}" for number in range(256)]
    started = time.process_time()
    assert majority.majority_at(labels, [label == "0" for label in labels], [2, 256])[1] == pytest.approx(1 / 12)
    assert time.process_time() - started < 1


def test_majority_at_k_of_too_few_replies_and_of_too_many():
    for replies, k in ((2, 3), (2000, 1024)):
        with pytest.raises(ValueError, match=f"maj@{k}"):
            majority.majority_at([True] * replies, [True] * replies, [2, k])
