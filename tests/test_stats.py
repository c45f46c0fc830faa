import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from harness import stats


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (8, 20), (12, 20), (20, 20), (1, 1319), (700, 1319)])
def test_wilson(successes, n):
    assert stats.wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(4, 0), (10, 3), (0, 0), (7, 7), (30, 12)])
def test_mcnemar_exact(gained, lost):
    expected = mcnemar([[5, gained], [lost, 5]], exact=True).pvalue if gained + lost else 1.0
    assert stats.mcnemar_exact(gained, lost) == pytest.approx(expected)


def test_holm():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert stats.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_mean_interval_of_independent_values_is_students():
    values = [1.0, 2.0, 4.0, 7.0]
    low, high = stats.mean_interval(values, ["a", "b", "c", "d"])
    mean, error = np.mean(values), np.std(values, ddof=1) / 2
    assert (low, high) == pytest.approx((mean - 3.182446 * error, mean + 3.182446 * error), abs=1e-5)


def test_replies_that_repeat_each_other_give_no_narrower_interval():
    values, clusters = [0.0, 1.0, 1.0, 0.0, 1.0], list("abcde")
    assert stats.mean_interval(values * 4, clusters * 4) == pytest.approx(stats.mean_interval(values, clusters))


def test_paired_share_interval_keeps_a_width_where_no_pair_differs():
    low, high = stats.paired_share_interval(0, 0, 20)
    assert low == pytest.approx(-high)
    assert high > 0.05


def test_sign_flip_agrees_with_the_exact_enumeration():
    differences = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert stats.sign_flip(differences) == pytest.approx(2 / 2**6)
    assert stats.sign_flip([0.0, 0.0]) == 1.0


def test_shares_of_several_replies_a_problem():
    one_each = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert stats.share_interval(one_each, list("abcde")) == pytest.approx(stats.wilson(3, 5))
    assert stats.share_interval(one_each * 4, list("abcde") * 4) == pytest.approx(stats.wilson(3, 5), abs=0.05)
    low, high = stats.share_interval([1.0] * 20, list("abcde") * 4)
    assert (low, high) == pytest.approx(stats.wilson(5, 5))


def test_detectable_difference_solves_connors_equation():
    difference = stats.detectable_difference(300, 0.3)
    needed = (1.959964 * 0.3**0.5 + 0.841621 * (0.3 - difference**2) ** 0.5) ** 2 / difference**2
    assert needed == pytest.approx(300, rel=1e-4)
    assert stats.detectable_difference(1319, 0.3) < difference
    assert stats.detectable_difference(4, 0.3) is None
