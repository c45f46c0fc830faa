import re
import time
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from baselines.statistics import coverage, gate, size
from harness.statistics import stats


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


def test_paired_share_interval_of_a_published_example():
    """Airway reactivity of 21 children before and after stem cell transplantation (Bentur et al. 2009), by Tango."""
    assert stats.paired_share_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 0, 72), (12, 30, 100), (3.5, 1.25, 40.5)])
def test_paired_share_interval_ends_where_the_score_test_rejects(gained, lost, n):
    """The likelihood's own maximum under each end, found without the formula."""
    for end in stats.paired_share_interval(gained, lost, n):

        def unlikely(down, end=end):
            up, same = down + end, 1 - 2 * down - end
            return -sum(scipy.special.xlogy(count, share) for count, share in
                        ((gained, up), (lost, down), (n - gained - lost, same)))  # fmt: skip

        edges = max(0, -end) + 1e-12, (1 - end) / 2 - 1e-12
        down = scipy.optimize.minimize_scalar(unlikely, bounds=edges, method="bounded", options={"xatol": 1e-10}).x
        score = (gained - lost - n * end) / (n * (2 * down + end - end**2)) ** 0.5
        assert abs(score) == pytest.approx(1.959964, abs=1e-4)


def test_unchanged_pairs_bound_the_share_that_changes_exactly():
    assert stats.unchanged_bound(38) == pytest.approx(proportion_confint(0, 38, method="beta")[1])
    assert stats.unchanged_needed(0.05) == 72
    assert stats.unchanged_bound(72) < 0.05 < stats.unchanged_bound(71)
    assert stats.unchanged_needed(0.0) is None


def test_intervals_of_several_replies_are_those_of_shares_where_replies_agree():
    deltas = np.array([1.0] * 5 + [-1.0] * 9 + [0.0] * 60)
    assert stats.paired_interval(deltas, bounded=True) == pytest.approx(stats.paired_share_interval(5, 9, 74))
    assert stats.bounded_interval(np.array([1.0] * 70 + [0.0] * 4)) == pytest.approx(stats.wilson(70, 74))
    narrower = stats.paired_interval(deltas / 4, bounded=True)
    assert np.diff(narrower) < np.diff(stats.paired_interval(deltas, bounded=True))


def test_sign_flip_agrees_with_the_exact_enumeration():
    differences = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert stats.sign_flip(differences) == pytest.approx(2 / 2**6)
    assert stats.sign_flip([0.0, 0.0]) == 1.0
    assert stats.sign_flip([]) == stats.sign_flip([2.0]) == 1.0


def scipys(differences: np.ndarray) -> float:
    draw = np.random.default_rng(1)
    return scipy.stats.permutation_test((differences,), np.mean, permutation_type="samples", vectorized=True, axis=0,
                                        rng=draw, batch=500).pvalue  # fmt: skip


@pytest.mark.parametrize("n", [4, 8, 13])
def test_sign_flip_of_few_is_scipys(n):
    """Thirds are no exact floats: sums that are as extreme as the observed one are so but for rounding."""
    draw = np.random.default_rng(n)
    for differences in (draw.normal(0.5, 1, n), draw.integers(-2, 4, n) / 3, np.full(n, 0.1)):
        assert stats.sign_flip(differences) == pytest.approx(scipys(differences))


@pytest.mark.parametrize("n", [40, 200, 1200])
def test_sign_flip_of_many_is_scipys_within_chance(n):
    draw = np.random.default_rng(n)
    for differences in (draw.normal(1.5 / n**0.5, 1, n), draw.integers(-3, 5, n) / 4, draw.standard_cauchy(n)):
        assert stats.sign_flip(differences) == pytest.approx(scipys(differences), abs=0.02)


@pytest.mark.parametrize(
    ("differences", "like"),
    [
        ([1e-17, 0.5, -1e-13], [0.5]),
        ([0.1 + 0.2 - 0.3] * 5, []),
        ([1e-9] * 3, [1.0] * 3),
        ([1e-9, 0.5, 0.5, 0.5], [1e-3, 0.5, 0.5, 0.5]),
    ],
)
def test_sign_flip_of_tiny_differences(differences, like):
    assert stats.sign_flip(differences) == pytest.approx(stats.sign_flip(like))


def test_sign_flip_of_one_size_is_mcnemars_exact_test():
    assert stats.sign_flip([1.0] * 41 + [-1.0] * 22 + [0.0] * 500) == pytest.approx(stats.mcnemar_exact(41, 22))


def test_sign_flip_of_100_000_differences_is_quick():
    differences, started = np.random.default_rng(0).normal(0.005, 1, 100_000), time.perf_counter()
    found = stats.sign_flip(differences)
    assert time.perf_counter() - started < 2
    assert found == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert stats.sign_flip(differences + 1) == 1 / 10_000


def test_shares_of_several_replies_a_problem():
    one_each = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert stats.share_interval(one_each, list("abcde")) == pytest.approx(stats.wilson(3, 5))
    assert stats.share_interval(one_each * 4, list("abcde") * 4) == pytest.approx(stats.wilson(3, 5), abs=0.05)
    low, high = stats.share_interval([1.0] * 20, list("abcde") * 4)
    assert (low, high) == pytest.approx(stats.wilson(5, 5))


@pytest.mark.parametrize(("n", "right"), [(6, 0), (6, 1), (6, 3), (6, 5), (6, 6)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_reply(n, right):
    for k in range(1, n + 1):
        draws = list(combinations([True] * right + [False] * (n - right), k))
        assert stats.pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_of_many_replies_and_of_too_few():
    assert stats.pass_at_k(10_000, 1, 5000) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="pass@5"):
        stats.pass_at_k(4, 2, 5)


LEAST, MOST = {20: 0.93, 100: 0.94, 300: 0.94, 1319: 0.94}, {20: 1.0, 100: 0.96, 300: 0.96, 1319: 0.96}


@pytest.mark.parametrize("n", [20, 100])
def test_intervals_cover(n):
    found = coverage.summary([coverage.coverage(n, share, simulations=300) for share in coverage.SHARES])
    for mean, lowest in found.values():
        assert LEAST[n] <= mean <= MOST[n]
        assert lowest > 0.88


def test_the_stored_coverage_is_complete_and_within_bounds():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([\d.]+) % \|", coverage.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [row[:2] for row in rows] == [(str(n), name) for n in coverage.SIZES for name in coverage.INTERVALS]
    for n, _, mean in rows:
        assert LEAST[int(n)] <= float(mean) / 100 <= MOST[int(n)]


@pytest.mark.parametrize("n", [1, 20, 1319])
def test_paired_share_intervals_stay_within_bounds(n):
    for gained, lost in ((0, 0), (n, 0), (0, n), (n // 2, n // 2)):
        low, high = stats.paired_share_interval(gained, lost, n)
        assert -1 <= low < (gained - lost) / n <= high <= 1 or -1 <= low <= (gained - lost) / n < high <= 1


@pytest.mark.parametrize("n", [100, 300])
def test_a_verdict_where_nothing_has_changed_is_rare(n):
    rate, moved = size.false_verdicts(n, 0.7, 0.5, simulations=40)
    assert (rate <= 0.05 + 2 * (0.05 * 0.95 / 40) ** 0.5, moved) == (True, 0)


def test_the_stored_sizes_are_at_most_5_percent():
    rates = [float(rate) for rate in re.findall(r"\| ([\d.]+) % \| 0 \|", size.PAGE.read_text(encoding="utf-8"))]
    assert len(rates) == len(size.SIZES) * len(size.SIDES)
    assert max(rates) <= 5


@pytest.mark.parametrize("n", [38, 72, 300])
def test_a_loss_as_large_as_the_tolerance_seldom_passes_the_gate(n):
    assert max(gate.passes(n, gained) for gained in gate.GAINS) <= 0.028
    if n > 38:
        assert gate.repeated_passes(n, 0.03, simulations=150) <= 0.025 + 2 * (0.025 * 0.975 / 150) ** 0.5


def test_the_stored_gate_passes_at_most_what_it_may():
    rates = [float(rate) for rate in re.findall(r"([\d.]+)% ", gate.PAGE.read_text(encoding="utf-8"))]
    assert len(rates) == len(gate.GAINS) * (len(gate.SIZES) + 1) + len(gate.WHOLE) * len(gate.REPEATED_SIZES)
    assert max(rates[len(gate.GAINS) :]) <= 2.9


@pytest.mark.parametrize("parts", [2, 4, 7])
def test_sign_flip_of_parts_is_the_exact_enumeration(parts):
    """Differences of several replies a problem; a p-value of many is as small as it is, and not 1 in 10,000."""
    draw = np.random.default_rng(parts)
    differences = draw.integers(-parts, parts + 1, 12) / parts
    signs = 1 - 2 * np.array(np.meshgrid(*[[0, 1]] * 12)).reshape(12, -1)
    sums = np.abs(signs.T @ differences)
    assert stats.sign_flip(differences) == pytest.approx((sums >= abs(differences.sum()) - 1e-9).mean())
    many = np.abs(draw.integers(1, parts + 1, 300)) / parts
    assert stats.sign_flip(many) == pytest.approx(2.0**-299, rel=1e-6)
    assert stats.sign_flip(np.zeros(5)) == 1.0
