"""One side against a baseline: has it become worse by more than is tolerated?

A metric holds where its whole 95 % interval lies within the tolerance: non-inferiority decided on the interval, not on
the point (ICH E9 1998, section 3.3.2; Piaggio et al. 2012, JAMA 308:2594). One of which neither more nor less is better
holds where both ends do: equivalence (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657, with
95 % in place of his 90). Every gated metric has to hold, so none is adjusted for the others (Berger 1982, Technometrics
24:295). A reply that is lost, or scored on one side only, counts at its worst before a metric holds. How often a loss
as large as the tolerance passes is in baselines/statistics/gate.md.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from harness import registry
from harness.errors import UserError
from harness.metric_definitions import definition_of
from harness.statistics import headline
from harness.statistics.compare import compare_each, restricted
from harness.statistics.gate_sides import (
    at_worst,
    compared_places,
    left_out,
    lost_replies,
    places_of,
    with_file_by_name,
)
from harness.statistics.metric_rows import difference_cells
from harness.statistics.pairs import uneven_by_configuration, unlike
from harness.statistics.power import POWER, needed_for_mean
from harness.statistics.stats import QUANTILE, unchanged_needed
from harness.types import Difference, Evaluation

GATED = ("accuracy_strict", "accuracy_flexible", "format_strict", "language_ratio")
TOLERANCE = 0.05

Result = Literal["holds", "worse", "differs", "not shown"]


@dataclass(frozen=True)
class MetricCheck:
    """A metric compared with its tolerance, which is in the metric's own unit.

    `reason` is in words, empty where the metric simply holds. `needed`: about how many problems would show that it
    holds, if nothing had changed.
    """

    name: str
    difference: Difference
    tolerance: float
    result: Result
    reason: str = ""
    needed: int | None = None

    @property
    def holds(self) -> bool:
        return self.result == "holds"

    @property
    def cells(self) -> tuple[str, ...]:
        """A row for people: metric, baseline, now, difference, 95 % interval, tolerance, result."""
        *figures, _ = difference_cells(definition_of(self.name), self.difference)
        return self.name, *figures, _amount(self.name, self.tolerance), self.result


HEAD = ("metric", "baseline", "now", "difference", "95 % interval", "tolerance", "result")


@dataclass(frozen=True)
class GateResult:
    """The checks of a side's metrics against a baseline, over the `problems` that both have."""

    side: str
    baseline: str
    problems: int
    metrics: tuple[MetricCheck, ...]
    notes: tuple[str, ...]

    @property
    def result(self) -> Literal["holds", "regressed", "not shown"]:
        if all(each.holds for each in self.metrics):
            return "holds"
        return "regressed" if any(each.result in ("worse", "differs") for each in self.metrics) else "not shown"

    @property
    def title(self) -> str:
        return f"{self.side} against {self.baseline}, {self.problems} problems"

    @property
    def line(self) -> str:
        """The result in words, with the metrics that do not hold."""
        if self.result == "holds":
            return "gate: holds"
        shown = [each.name for each in self.metrics if each.result in ("worse", "differs")]
        unsure = [each.name for each in self.metrics if each.result == "not shown"]
        named = {"regressed": shown, "not shown": unsure}
        return "gate: " + "; ".join(f"{word} ({', '.join(names)})" for word, names in named.items() if names)

    @property
    def reasons(self) -> list[str]:
        return [f"{each.name}: {each.result}: {each.reason}" for each in self.metrics if each.reason]

    def as_dict(self) -> dict:
        return {"gate": self.result} | asdict(self)


def check(side: Evaluation, baseline: Evaluation, named: Mapping[str, float]) -> GateResult:
    """Check a side for regressions; `named` are tolerances by metric besides the usual ones.

    Raises UserError if the two are not comparable, or if a tolerance names a metric that not both have.
    """
    side, baseline = with_file_by_name(side), with_file_by_name(baseline)
    _refuse_unlike(side, baseline)
    places = compared_places(side, baseline)
    old, new = (restricted(each, lambda reply: reply.place in places) for each in (baseline, side))
    tolerances = _tolerances(old, new, named)
    lost = lost_replies(side, baseline)
    comparison, worst = compare_each(old, [new])[0], compare_each(*at_worst(baseline, old, new, lost))[0]
    problems = len({problem for problem, _ in places})
    about = headline.of_replies(side.settings) if uneven_by_configuration(old, new) else ()
    checks = (
        _check_metric(name, comparison.metrics[name], worst.metrics[name], allowed, len(lost))
        for name, allowed in tolerances.items()
    )
    notes = (*left_out(side, new, baseline.name), *left_out(baseline, old, side.name), *about, *comparison.warnings)
    return GateResult(side.name, baseline.name, problems, tuple(checks), notes)


def tolerance(name: str, text: str) -> float:
    """A tolerance as a user writes it. UserError: not a number from 0 on, or one that any share would meet."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"--tolerance {name}={text}: give a number from 0 on, as in {name}={TOLERANCE}")
    if definition_of(name).percent and value >= 1:
        raise UserError(f"--tolerance {name}={text}: a share cannot fall by more than 1: 5 percentage points are 0.05")
    return value


def _refuse_unlike(side: Evaluation, baseline: Evaluation) -> None:
    """Refuse two sides of different inputs. Raises UserError if anything besides model, engine and versions differs."""
    found = [text for setting, text in unlike(side, baseline).items() if setting != "engine"]
    if not found and not places_of(side) & places_of(baseline):
        found = ["no problem is in both"]
    if found:
        raise UserError(
            f"{side.name} is not comparable with {baseline.name}: {'; '.join(found)}: run it with the settings of the "
            "baseline, or write another baseline"
        )


def _tolerances(baseline: Evaluation, side: Evaluation, named: Mapping[str, float]) -> dict[str, float]:
    """The gated metrics, each with its tolerance; the usual ones where the baseline has a value."""
    both = [name for name in baseline.metrics if name in side.metrics]
    usual = {name: TOLERANCE for name in GATED if name in both and baseline.metrics[name].mean is not None}
    gated = usual | {registry.choose("metric", name, both): value for name, value in named.items()}
    if not gated:
        raise UserError(f"{baseline.name} has no value of {', '.join(GATED)}: name a metric with --tolerance NAME=X")
    return gated


def _check_metric(name: str, difference: Difference, worst: Difference, allowed: float, lost: int) -> MetricCheck:
    """`worst` is the difference with all that is lost or scored on one side only as bad as it can have been."""

    def result(value: Result, reason: str = "", needed: int | None = None) -> MetricCheck:
        return MetricCheck(name, difference, allowed, value, reason, needed)

    if difference.delta is None:
        return result("not shown", "no reply is scored on both sides")
    gap_count = difference.one_sided + lost
    gaps = f"{gap_count or 'some'} replies are lost or scored on one side only"
    if gap_count and not definition_of(name).percent:
        return result("not shown", f"{gaps}, and {name} has no worst value")
    if difference.low is None or difference.high is None:
        if difference.problems > 1 and allowed and not difference.delta:
            return result("holds", "no pair differs")
        few = "one problem gives" if difference.problems == 1 else "differences that are all the same give"
        return result("not shown", f"{few} no interval")
    better = definition_of(name).better
    word = "worse" if better else "differs"
    least, most = _wrong_way(better, difference)
    if most < allowed <= (at_most := _wrong_way(better, worst)[1]):
        return result("not shown", f"{gaps}: counted at their worst, {_as_large(name, at_most, allowed)}")
    if most < allowed:
        return result("holds", f"{word}, but within the tolerance" if least > 0 else "")
    reason = _as_large(name, most, allowed)
    if least > 0:
        return result(word, f"{reason}, and is at least {_amount(name, least)}")
    needed = _needed(name, difference, allowed)
    return result("not shown", f"{reason}; {_outlook(needed, difference.problems)}", needed)


def _outlook(needed: int | None, problems: int) -> str:
    """How many problems would show that a metric holds, in words."""
    if needed is None:
        return "no number of problems can show that it is none"
    if needed <= problems:
        return "so many problems usually show less where nothing has changed"
    return f"even if nothing changed, about {needed:,} problems are needed to show less"


def _wrong_way(better: int, difference: Difference) -> tuple[float, float]:
    """How far at the least and at the most it went the wrong way."""
    low, high = difference.low, difference.high
    if better:
        return (-high, -low) if better > 0 else (low, high)
    return (-high, -low) if -low > high else (low, high)


def _as_large(name: str, most: float, allowed: float) -> str:
    kind = {1: "loss", -1: "rise", 0: "difference"}[definition_of(name).better]
    return f"the {kind} may be as large as {_amount(name, most)} ({_amount(name, allowed)} allowed)"


def _needed(name: str, difference: Difference, allowed: float) -> int | None:
    """About how many problems show with 80 % power that a metric holds whose true difference is 0.

    The interval is taken to shrink with the square root of their number; where no pair differs its bound is exact.
    None where nothing is allowed.
    """
    if not difference.changed:
        return unchanged_needed(allowed)
    spread = (difference.high - difference.low) / 2 / QUANTILE * math.sqrt(difference.problems)
    # Where both ends have to hold, each has half of the failures.
    return needed_for_mean(allowed, spread, POWER if definition_of(name).better else (1 + POWER) / 2)


def _amount(name: str, value: float) -> str:
    """A difference in the metric's unit, exact enough to be told from the tolerance."""
    return f"{100 * value:.2f} pp" if definition_of(name).percent else f"{value:.2f}"
