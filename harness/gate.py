"""One side against a baseline: has it become worse by more than is tolerated?

A metric holds where its whole 95 % interval lies within the tolerance: non-inferiority decided on the interval, not on
the point (ICH E9 1998, section 3.3.2; Piaggio et al. 2012, JAMA 308:2594). One of which neither more nor less is better
holds where both ends do: equivalence (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657, with
95 % in place of his 90). Every gated metric has to hold, so none is adjusted for the others (Berger 1982, Technometrics
24:295).
"""

import math
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Literal
from xml.etree import ElementTree

from harness import registry
from harness.compare import compare_each, metrics_of
from harness.errors import UserError
from harness.markdown import escaped
from harness.pairs import unlike
from harness.stats import QUANTILE, needed_for_mean
from harness.types import Difference, Evaluation, measure

GATED = ("accuracy_strict", "accuracy_flexible", "format_strict", "language_ratio")
TOLERANCE = 0.05
POWER = 0.8
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Result = Literal["holds", "worse", "differs", "not shown"]


@dataclass(frozen=True)
class Judged:
    """A metric held against its tolerance, which is in the metric's own unit; `reason` is in words, empty where it
    simply holds. `needed`: about how many problems would show that it holds, were there no difference in truth."""

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
        show, each = measure(self.name).show, self.difference
        interval = measure(self.name).interval(each.low, each.high, signed=True)
        values = show(each.before), show(each.after), show(each.delta, signed=True), interval
        return self.name, *values, _amount(self.name, self.tolerance), self.result


HEAD = ("metric", "baseline", "now", "difference", "95 % interval", "tolerance", "result")


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a side, over the `problems` that the baseline has too."""

    side: str
    baseline: str
    problems: int
    metrics: tuple[Judged, ...]
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
        """The verdict in words, with the metrics that do not hold."""
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


def judge(side: Evaluation, baseline: Evaluation, named: Mapping[str, float]) -> Verdict:
    """The verdict on a side; `named` are tolerances by metric besides the usual ones.

    UserError: the two are not comparable, or a tolerance names a metric that not both have.
    """
    side, baseline = _file_by_name(side), _file_by_name(baseline)
    _refuse_unlike(side, baseline)
    places = _places(side) & _places(baseline)
    old, new = _only(baseline, places), _only(side, places)
    tolerances = _tolerances(old, new, named)
    comparison = compare_each(old, [new])[0]
    problems = len({problem for problem, _ in places})
    judged = (_judged(name, comparison.metrics[name], allowed, problems) for name, allowed in tolerances.items())
    notes = (*_left_out(side, baseline, len(places)), *comparison.warnings)
    return Verdict(side.name, baseline.name, problems, tuple(judged), notes)


def tolerance(name: str, text: str) -> float:
    """A tolerance as a user writes it. UserError: not a number from 0 on, or one that any share would meet."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"--tolerance {name}={text}: give a number from 0 on, as in {name}={TOLERANCE}")
    if measure(name).percent and value >= 1:
        raise UserError(f"--tolerance {name}={text}: a share cannot fall by more than 1: 5 percentage points are 0.05")
    return value


def junit(verdict: Verdict) -> str:
    """The verdict as JUnit XML, a test case a metric."""
    failed = [each for each in verdict.metrics if not each.holds]
    counts = {"tests": str(len(verdict.metrics)), "failures": str(len(failed)), "errors": "0", "skipped": "0"}
    suite = ElementTree.Element("testsuite", {"name": "harness", **counts, "time": "0"})
    properties = ElementTree.SubElement(suite, "properties")
    for key in ("side", "baseline", "problems"):
        value = _xml(str(getattr(verdict, key)))
        ElementTree.SubElement(properties, "property", {"name": key, "value": value})
    for each in verdict.metrics:
        named = {"classname": "harness.gate", "name": _xml(each.name), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", named)
        if not each.holds:
            failure = ElementTree.SubElement(case, "failure", {"type": each.result, "message": _xml(each.reason)})
            failure.text = _xml("\n".join(f"{head}: {cell}" for head, cell in zip(HEAD, each.cells, strict=True)))
    ElementTree.SubElement(suite, "system-out").text = _xml("\n".join((verdict.line, *verdict.notes)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, "utf-8", xml_declaration=True).decode() + "\n"


def markdown(verdict: Verdict) -> str:
    """The verdict as a section of Markdown."""
    rows = [HEAD, (":--", *["--:"] * (len(HEAD) - 2), ":--"), *(each.cells for each in verdict.metrics)]
    table = "\n".join("| " + " | ".join(map(escaped, row)) + " |" for row in rows)
    said = "".join(f"- {escaped(text)}\n" for text in (*verdict.reasons, *verdict.notes))
    return f"### harness {escaped(verdict.line)}\n\n{escaped(verdict.title)}\n\n{table}\n\n{said}\n"


def _refuse_unlike(side: Evaluation, baseline: Evaluation) -> None:
    """A UserError where something besides model, engine and library versions differs."""
    found = [text for setting, text in unlike(side, baseline).items() if setting != "engine"]
    if not found and not _places(side) & _places(baseline):
        found = ["no problem is in both"]
    if found:
        raise UserError(
            f"{side.name} is not comparable with {baseline.name}: {'; '.join(found)}: run it with the settings of the "
            "baseline, or write another baseline"
        )


def _places(side: Evaluation) -> set[tuple[str, int]]:
    return {each.place for each in side.completions}


def _file_by_name(side: Evaluation) -> Evaluation:
    """A side whose dataset goes by its name alone: a file lies elsewhere on another machine."""
    return replace(side, settings=side.settings | {"dataset": PurePath(str(side.settings.get("dataset"))).name})


def _only(side: Evaluation, places: Set[tuple[str, int]]) -> Evaluation:
    """A side with no other replies than those at the places, so that its means are of what is compared."""
    kept = [each for each in zip(side.completions, side.scores, strict=True) if each[0].place in places]
    scores = tuple(score for _, score in kept)
    return replace(
        side, completions=tuple(completion for completion, _ in kept), scores=scores, metrics=metrics_of(scores)
    )


def _tolerances(baseline: Evaluation, side: Evaluation, named: Mapping[str, float]) -> dict[str, float]:
    """The gated metrics, each with its tolerance; the usual ones where the baseline has a value."""
    both = [name for name in baseline.metrics if name in side.metrics]
    usual = {name: TOLERANCE for name in GATED if name in both and baseline.metrics[name].mean is not None}
    gated = usual | {registry.choose("metric", name, both): value for name, value in named.items()}
    if not gated:
        raise UserError(f"{baseline.name} has no value of {', '.join(GATED)}: name a metric with --tolerance NAME=X")
    return gated


def _judged(name: str, difference: Difference, allowed: float, problems: int) -> Judged:
    if difference.delta is None:
        return Judged(name, difference, allowed, "not shown", "no reply is scored on both sides")
    if difference.low is None or difference.high is None:
        if problems > 1 and allowed and not difference.delta:
            return Judged(name, difference, allowed, "holds", "no pair differs")
        few = "one problem gives" if problems == 1 else "differences that are all the same give"
        return Judged(name, difference, allowed, "not shown", f"{few} no interval")
    better = measure(name).better
    word = "worse" if better else "differs"
    least, most, end = _wrong_way(better, difference.low, difference.high)
    if most < allowed:
        return Judged(name, difference, allowed, "holds", f"{word}, but within the tolerance" if least > 0 else "")
    reason = f"the interval reaches to {_amount(name, end, '+')}, tolerance {_amount(name, allowed)}"
    if least > 0:
        return Judged(name, difference, allowed, word, f"{reason}, and leaves 0 out")
    needed = _needed(name, difference, allowed, problems)
    if needed is None:
        hope = "no number of problems can show it"
    elif needed > problems:
        hope = f"about {needed:,} problems would be needed, were there no difference"
    else:
        hope = "so many problems would do, were there no difference"
    return Judged(name, difference, allowed, "not shown", f"{reason}; {hope}", needed)


def _wrong_way(better: int, low: float, high: float) -> tuple[float, float, float]:
    """How far at the least and at the most it went the wrong way, and the interval's end that says so."""
    down, up = (-high, -low, low), (low, high, high)
    if better:
        return down if better > 0 else up
    return down if -low > high else up


def _needed(name: str, difference: Difference, allowed: float, problems: int) -> int | None:
    """About how many problems show with 80 % power that a metric holds whose true difference is 0.

    The interval is taken to shrink with the square root of their number; None where nothing is allowed.
    """
    spread = (difference.high - difference.low) / 2 / QUANTILE * math.sqrt(problems)
    # Where both ends have to hold, each has half of the failures.
    return needed_for_mean(allowed, spread, POWER if measure(name).better else (1 + POWER) / 2)


def _left_out(side: Evaluation, baseline: Evaluation, common: int) -> list[str]:
    """What only one of the two has, in words."""
    return [
        f"{len(one.completions) - common} of {len(one.completions)} replies of {one.name} have no partner in "
        f"{other.name} and are left out"
        for one, other in ((side, baseline), (baseline, side))
        if len(one.completions) > common
    ]


def _amount(name: str, value: float, sign: str = "") -> str:
    """A difference in the metric's unit, exact enough to be told from the tolerance."""
    return f"{100 * value:{sign}.2f} pp" if measure(name).percent else f"{value:{sign}.2f}"


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 has no place for."""
    return NOT_IN_XML.sub("", text)
