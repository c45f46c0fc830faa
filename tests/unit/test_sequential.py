"""The limits of --stop-early: as published, and in simulation as the program decides."""

import re

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from baselines.statistics import early
from harness.findings import StoppedEarly
from harness.statistics import sequential, stats

# As gsDesign's sfLDOF, ldbounds and the program of Reboussin and others give them: 2.5 % in each direction.
PUBLISHED = [
    (2, (2.9626, 1.9686)),
    (3, (3.7103, 2.5114, 1.9930)),
    (4, (4.3326, 2.9631, 2.3590, 2.0141)),
    (5, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
]


@pytest.mark.parametrize(("looks", "limits"), PUBLISHED)
def test_limits_are_the_published_ones(looks, limits):
    fractions = tuple(look / looks for look in range(1, looks + 1))
    assert sequential.limits(fractions) == pytest.approx(limits, abs=1.5e-4)


def test_limits_of_one_direction_of_the_published_package():
    """SeqBounds.jl's example, 5 % in one direction at four looks; in two it is 10 %."""
    found = sequential.limits((0.25, 0.5, 0.75, 1.0), level=0.1)
    assert found == pytest.approx((3.74955, 2.53993, 2.01604, 1.72014), abs=2e-3)


@pytest.mark.parametrize("fractions", [(0.3, 1.0), (0.1, 0.55, 1.0), (0.2, 0.4, 0.6, 0.8, 1.0)])
def test_limits_spend_the_level_whatever_the_looks(fractions):
    """By the multivariate normal distribution, which is integrated in another way."""
    found, times = np.array(sequential.limits(fractions)), np.array(fractions)
    covariance = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for look in range(2, len(fractions) + 1):
        within = multivariate_normal(cov=covariance[:look, :look], abseps=1e-7, releps=1e-7, maxpts=10**6)
        inside = within.cdf(found[:look], lower_limit=-found[:look])
        assert 1 - inside == pytest.approx(sequential.spent(fractions[look - 1]), abs=2e-5)
    assert sequential.spent(1.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("problems", "looks"),
    [(1319, (132, 264, 396, 528, 660, 792, 924, 1056, 1188, 1319)), (10, tuple(range(1, 11))), (4, (1, 2, 3, 4)),
     (1, (1,)), (15, (2, 3, 5, 6, 8, 9, 11, 12, 14, 15))],
)  # fmt: skip
def test_looks_are_at_every_tenth(problems, looks):
    assert sequential.looks_at(problems) == looks
    assert len(sequential.levels(problems)) == len(looks)


def stopped_at(look: int, problems: int = 1319) -> StoppedEarly:
    ends = sequential.looks_at(problems)
    return StoppedEarly("accuracy_flexible", look, len(ends), ends[look - 1], problems, sequential.levels(problems))


@pytest.mark.parametrize("look", [1, 2, 4, 7, 10])
def test_a_corrected_p_value_is_below_5_percent_where_the_limit_is_crossed(look):
    stopped = stopped_at(look)
    assert sequential.corrected(stopped.level, stopped) == pytest.approx(0.05, abs=1e-6)
    assert (
        sequential.corrected(stopped.level * 0.9, stopped) < 0.05 < sequential.corrected(stopped.level * 1.1, stopped)
    )
    assert sequential.corrected(1.0, stopped) == 1.0
    assert 0 < sequential.corrected(0.0, stopped) < 0.001


def test_one_look_alone_is_the_ordinary_test():
    stopped = stopped_at(1, problems=1)
    assert stopped.level == pytest.approx(0.05)
    assert sequential.corrected(0.03, stopped) == pytest.approx(0.03, rel=1e-6)


def test_an_interval_at_a_lower_level_is_wider():
    deltas = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)
    for bounded in (True, False):
        ordinary, wide = stats.paired_interval(deltas, bounded), stats.paired_interval(deltas, bounded, 0.001)
        assert wide[0] < ordinary[0] < ordinary[1] < wide[1]
    assert stats.unchanged_bound(20, 0.01) > stats.unchanged_bound(20)


def test_the_simulation_decides_as_the_program_does():
    gained, lost = np.array([[0, 5, 12], [3, 3, 40]]), np.array([[0, 5, 1], [0, 9, 22]])
    expected = [
        [stats.mcnemar_exact(*pair) for pair in zip(*row, strict=True)] for row in zip(gained, lost, strict=True)
    ]
    assert early.p_values(gained, lost) == pytest.approx(np.array(expected))
    for problems, before, after in ((100, 0.4, 0.4), (300, 0.4, 0.5)):
        found = early.simulate(problems, before, after, simulations=400)
        assert found.verdicts <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5 if before == after else found.verdicts > 0.75
        assert found.verdicts >= found.fixed - 0.03
        assert found.held >= 0.93


def test_expected_problems_are_those_of_the_simulation():
    found = early.simulate(300, 0.4, 0.5, simulations=400)
    # With such chances 20 % of the answers become right and 10 % wrong.
    assert sequential.expected_problems(300, 0.1, 0.3) == pytest.approx(found.asked, rel=0.06)


def test_the_stored_table_is_within_its_bounds():
    text = early.PAGE.read_text(encoding="utf-8")
    sizes = re.findall(r"^\| [\d,]+ \| \d+% \| ([\d.]+) % \| [\d.]+ % \| [\d,]+ \| ([\d.]+) %", text, re.MULTILINE)
    assert len(sizes) == len(early.SIZES) * len(early.UNCHANGED)
    assert all(float(false) <= 5 and float(held) >= 95 for false, held in sizes)
    gains = re.findall(r"\+\d+ \| ([\d.]+) % \| ([\d.]+) % \| [\d,]+ \| ([\d.]+) %", text)
    assert len(gains) == len(early.GAINS)
    for found, fixed, held in gains:
        assert float(found) >= float(fixed) - (2 if float(fixed) >= 80 else 2.2)
        assert float(held) >= 95
