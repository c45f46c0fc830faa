"""The problems that a difference takes, and the difference that problems show."""

import re

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.power import NormalIndPower

from baselines.statistics import power as plans
from harness.statistics import power, stats


def trinomial_power(n: int, up: float, down: float, level: float) -> float:
    """The power of the exact McNemar test as the sum over every outcome of `n` problems."""
    gained, lost = np.meshgrid(np.arange(n + 1), np.arange(n + 1))
    outcomes = np.stack([gained, lost, n - gained - lost], axis=-1)
    chances = scipy.stats.multinomial.pmf(outcomes, n, (up, down, 1 - up - down))
    p_values = {(k, m): stats.mcnemar_exact(k, m - k) for m in range(n + 1) for k in range(m + 1)}
    rejects = [(k, m - k) for (k, m), p in p_values.items() if p <= level]
    return sum(chances[lost, gained] for gained, lost in rejects)


@pytest.mark.parametrize(("n", "tests"), [(30, 1), (40, 3)])
def test_power_is_the_sum_over_every_outcome(n, tests):
    assert power.mcnemar_power(n, 0.35, 0.05, tests) == pytest.approx(trinomial_power(n, 0.35, 0.05, 0.05 / tests))


@pytest.mark.parametrize("tests", [1, 3])
def test_sizes_have_the_power_that_is_asked_for(tests):
    n = power.problems_needed(0.1, 0.3, tests=tests)
    assert power.mcnemar_power(n, 0.2, 0.1, tests) >= 0.8 > power.mcnemar_power(n - 1, 0.2, 0.1, tests)
    assert power.problems_needed(-0.1, 0.3, tests=tests) == n
    assert power.problems_needed(0.0, 0.3) is None
    difference = power.detectable_difference(n, 0.3, tests=tests)
    assert difference == pytest.approx(0.1, abs=0.002)
    assert power.detectable_difference(4, 0.3) is None


@pytest.mark.parametrize(("up", "down", "pairs"), [(0.45, 0.05, 23), (0.3, 0.15, 155)])
def test_sizes_of_worked_examples(up, down, pairs):
    """Of powerandsamplesize.com, by Connor 1987 for the test without correction; the exact one takes a few more."""
    assert pairs < power.problems_needed(up - down, up + down) < 1.25 * pairs


@pytest.mark.parametrize(("difference", "moves"), plans.CASES)
def test_what_is_planned_is_what_the_verdict_has(difference, moves):
    n, found = plans.planned_power(difference, moves, simulations=60)
    assert n == power.problems_needed(difference, plans.CHANGED, tests=3)
    assert found >= 0.8 - 2 * (0.8 * 0.2 / 60) ** 0.5


def test_the_stored_powers_are_at_least_80_percent():
    found = [
        float(each) for each in re.findall(r"([\d.]+) % \|$", plans.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(found) == len(plans.CASES)
    assert min(found) >= 78


def test_needed_for_mean_of_millers_worked_example():
    """arXiv:2411.00640: 969 questions show 3 percentage points where the differences' variance is 1/9."""
    assert power.needed_for_mean(0.03, 1 / 3) == power.needed_for_mean(-0.03, 1 / 3) == 969
    assert power.detectable_mean(969, 1 / 3) == pytest.approx(0.03, abs=1e-5)


@pytest.mark.parametrize("wanted", [0.8, 0.9])
def test_needed_for_mean_is_statsmodels(wanted):
    needed = NormalIndPower(ddof=0).solve_power(effect_size=4 / 30, alpha=0.05, power=wanted, ratio=0)
    assert power.needed_for_mean(4, 30, wanted) == np.ceil(needed)
    assert power.detectable_mean(needed, 30, wanted) == pytest.approx(4, rel=1e-4)
    assert power.needed_for_mean(0, 30) is None
    assert power.needed_for_mean(5, 0) == 2
