"""Looks at a comparison before all replies are there, and the limits that keep the share of false verdicts.

The limits are of O'Brien and Fleming's type by error spending (Lan and DeMets 1983, Biometrika 70:659), with half of
the level for each direction, as the tables and programs for two-sided tests have it (Reboussin, DeMets, Kim and Lan
2000, Controlled Clinical Trials 21:190). A look's own level is that of the normal statistic; the exact paired test is
compared with it. How often that is wrong, and what it saves, is in baselines/statistics/early.md.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from math import exp, log, sqrt

import numpy as np
from scipy import optimize
from scipy.special import ndtr
from scipy.stats import norm

from harness.findings import StoppedEarly
from harness.statistics.stats import LEVEL
from harness.types import Problem

LOOKS = 10
# Points of the numerical integration between two limits: more change no limit by 1e-6.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(128)
FARTHEST = 60.0
SMALLEST_P, LARGEST_P = 1e-12, 0.999


def in_order(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """The problems in the random order that the seed fixes, the same on every machine."""
    return sorted(
        problems, key=lambda each: hashlib.sha256(f"{seed}\0{each.question}".encode("utf-8", "replace")).digest()
    )


def looks_at(problems: int) -> tuple[int, ...]:
    """After how many problems each look is: every tenth of them, fewer looks where there are fewer problems."""
    return tuple(sorted({-(-look * problems // LOOKS) for look in range(1, LOOKS + 1)}))


def levels(problems: int) -> tuple[float, ...]:
    """The level at which a difference of so many problems has to be significant at each look."""
    return tuple(float(2 * norm.sf(limit)) for limit in limits(_fractions(problems)))


def corrected(p_value: float, stopped: StoppedEarly) -> float:
    """The repeated p-value: the smallest level whose limit the test would have crossed at this look.

    Below LEVEL where it has crossed that one's (Jennison and Turnbull 1999, Group Sequential Methods, chapter 9).
    """
    fractions = _fractions(stopped.of)[: stopped.look]

    def excess(logarithm: float) -> float:
        return 2 * norm.sf(limits(fractions, exp(logarithm))[-1]) - p_value

    ends = log(SMALLEST_P), log(LARGEST_P)
    if excess(ends[0]) > 0:
        return SMALLEST_P
    return float(exp(optimize.brentq(excess, *ends, xtol=1e-9))) if excess(ends[1]) > 0 else 1.0


def expected_problems(problems: int, difference: float, changed: float) -> float:
    """How many of the problems are asked on average, where the truth is a difference of paired shares.

    `changed` is the share of problems whose result differs between the sides. The statistic is taken as normal.
    """
    fractions = _fractions(problems)
    drift = abs(difference) * sqrt(problems / (changed - difference**2))
    walk, left, asked = _Walk(drift), 1.0, 0.0
    for fraction, limit, count in zip(fractions, limits(fractions), looks_at(problems), strict=True):
        crossed = walk.beyond(fraction, limit)
        asked, left = asked + crossed * count, left - crossed
        walk.go_on(fraction, limit)
    return asked + left * problems


def spent(fraction: float, level: float = LEVEL) -> float:
    """How much of the level may be spent when a fraction of the problems is there."""
    return float(4 * norm.sf(norm.isf(level / 4) / sqrt(fraction)))


@lru_cache(maxsize=256)
def limits(fractions: tuple[float, ...], level: float = LEVEL) -> tuple[float, ...]:
    """The limit of the normal statistic at each look, either way; `fractions` of the problems are there then."""
    walk, results, before = _Walk(), [], 0.0
    for fraction in fractions:
        allowed = spent(fraction, level) - before
        limit = optimize.brentq(lambda z, at=fraction, to=allowed: walk.beyond(at, z) - to, 0.0, FARTHEST)
        walk.go_on(fraction, limit)
        results.append(float(limit))
        before += allowed
    return tuple(results)


class _Walk:
    """The statistic's way from look to look, as a density over where it stands while no limit is crossed.

    By the recursion of Armitage, McPherson and Rowe (1969, JRSS A 132:235) with Gauss and Legendre's points; where it
    stands is the statistic times the square root of the fraction, which has independent increments.
    """

    def __init__(self, drift: float = 0.0):
        self.drift, self.fraction = drift, 0.0
        self.places, self.masses = np.zeros(1), np.ones(1)

    def beyond(self, fraction: float, limit: float) -> float:
        """The chance to be beyond a limit, either way, at a look, and at none before."""
        step = fraction - self.fraction
        end, means = limit * sqrt(fraction), self.places + self.drift * step
        return float(self.masses @ (ndtr((means - end) / sqrt(step)) + ndtr((-end - means) / sqrt(step))))

    def go_on(self, fraction: float, limit: float) -> None:
        """Past a look at which the limit is not crossed."""
        step, end = fraction - self.fraction, limit * sqrt(fraction)
        there = NODES * end
        moved = np.subtract.outer(there, self.places + self.drift * step) / sqrt(step)
        density = np.exp(-(moved**2) / 2) @ self.masses / sqrt(2 * np.pi * step)
        self.places, self.masses, self.fraction = there, WEIGHTS * end * density, fraction


def _fractions(problems: int) -> tuple[float, ...]:
    return tuple(count / problems for count in looks_at(problems))
