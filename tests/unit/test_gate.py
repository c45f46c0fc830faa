from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy
import pytest
from scored_sides import SETTINGS, side

from harness.errors import UserError
from harness.statistics import gate
from harness.statistics.compare import metrics_of
from harness.statistics.stats import paired_share_interval
from harness.types import Evaluation
from reports import gate as gate_reports

ROOT = Path(__file__).parent.parent.parent


def result(now: Evaluation, then: Evaluation, metric: str = "accuracy_strict", **named: float) -> gate.MetricCheck:
    return next(each for each in gate.check(now, then, named).metrics if each.name == metric)


@pytest.mark.parametrize(
    ("then", "now", "tolerance", "expected", "reason"),
    [
        ([1, 0] * 50, [1, 0] * 50, 0.05, "holds", ""),
        ([1] * 36 + [0] * 36, [1] * 36 + [0] * 36, 0.05, "holds", ""),
        (
            [1] * 71,
            [1] * 71,
            0.05,
            "not shown",
            "5.06 pp (5.00 pp allowed); even if nothing changed, about 72 problems",
        ),
        ([1] * 38, [1] * 38, 0.05, "not shown", "as large as 9.25 pp"),
        ([1] * 100, [1] * 90 + [0] * 10, 0.05, "worse", "(5.00 pp allowed), and is at least 5.52 pp"),
        ([1] * 100, [1] * 90 + [0] * 10, 0.2, "holds", "worse, but within the tolerance"),
        ([1] * 100, [0] * 2 + [1] * 98, 0.05, "not shown", "even if nothing changed, about 158 problems are needed"),
        (
            [0] * 7 + [1] * 293,
            [1] * 285 + [0] * 15,
            0.05,
            "not shown",
            "so many problems usually show less where nothing",
        ),
        ([0] * 50 + [1] * 50, [1] * 50 + [0] * 50, 0.05, "not shown", "problems are needed to show less"),
        ([0] * 100, [1] * 40 + [0] * 60, 0.0, "holds", ""),
        ([1, 0] * 50, [1, 0] * 50, 0.0, "not shown", "; no number of problems can show that it is none"),
    ],
)
def test_the_interval_decides(then, now, tolerance, expected, reason):
    judged = result(side(now), side(then), accuracy_strict=tolerance)
    assert (judged.result, judged.holds) == (expected, expected == "holds")
    assert reason in judged.reason
    assert bool(judged.reason) == bool(reason)


def test_a_point_within_the_tolerance_is_not_enough():
    """30 % right before and 28 % now, tolerance 5 pp: the point holds, 50 problems do not show it."""
    judged = result(side([1] * 14 + [0] * 36), side([1] * 12 + [0] * 35 + [1] * 3))
    assert judged.difference.delta == pytest.approx(-0.02)
    assert (judged.result, judged.needed > 50) == ("not shown", True)


def test_as_many_problems_as_are_said_to_be_needed_show_it_four_times_in_five():
    """Where as many replies change as did here, none for the better or worse on the whole."""
    needed = result(side([0] * 88 + [1] * 12), side([1] * 12 + [0] * 88)).needed
    counts = numpy.random.default_rng(1).multinomial(needed, [0.12, 0.12, 0.76], size=1000)
    lows = [paired_share_interval(int(gained), int(lost), needed)[0] for gained, lost, _ in counts]
    assert sum(low > -gate.TOLERANCE for low in lows) / 1000 == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    ("metric", "then", "now", "tolerance", "expected"),
    [
        ("truncated", [0.0] * 100, [1.0] * 20 + [0.0] * 80, 0.05, "worse"),
        ("truncated", [1.0] * 20 + [0.0] * 80, [0.0] * 100, 0.05, "holds"),
        ("truncated", [0.0] * 100, [1.0] * 2 + [0.0] * 98, 0.05, "not shown"),
        ("tokens", [40.0, 42.0] * 50, [41.0, 41.0] * 50, 2.0, "holds"),
        ("tokens", [40.0, 42.0] * 50, [60.0, 61.0] * 50, 2.0, "differs"),
        ("tokens", [60.0, 61.0] * 50, [40.0, 42.0] * 50, 2.0, "differs"),
        ("tokens", [40.0, 80.0] * 50, [80.0, 40.0] * 50, 2.0, "not shown"),
        ("reward/mine", [1.0, 3.0] * 50, [3.0, 3.0] * 50, 0.1, "holds"),
        ("reward/mine", [3.0, 3.0] * 50, [1.0, 3.0] * 50, 0.1, "worse"),
    ],
)
def test_directions_and_units_of_metrics(metric, then, now, tolerance, expected):
    right = [1] * 100
    judged = result(side(right, **{metric: now}), side(right, **{metric: then}), metric, **{metric: tolerance})
    assert judged.result == expected


def test_what_is_gated_unless_something_is_named():
    both = {"format_strict": [1.0] * 40, "tokens": [3.0] * 40, "truncated": [0.0] * 40, "language_ratio": [None] * 40}
    verdict = gate.check(side([1] * 40, **both), side([1] * 40, **both), {})
    assert {each.name: each.tolerance for each in verdict.metrics} == {"accuracy_strict": 0.05, "format_strict": 0.05}
    named = gate.check(side([1] * 40, **both), side([1] * 40, **both), {"tokens": 1.0, "format_strict": 0.1})
    assert {each.name: each.tolerance for each in named.metrics} == {
        "accuracy_strict": 0.05, "format_strict": 0.1, "tokens": 1.0,
    }  # fmt: skip


def test_what_cannot_be_judged_does_not_hold():
    lost = gate.check(
        side([1] * 80, format_strict=[None] * 80, tokens=[1.0] * 80),
        side([1] * 80, format_strict=[1.0] * 80, tokens=[1.0] * 80),
        {},
    )
    assert lost.line == "gate: not shown (format_strict)"
    assert "no reply is scored on both sides" in lost.reasons[0]
    one = gate.check(side([1], tokens=[1.0]), side([1], tokens=[1.0]), {"tokens": 1.0})
    assert [each.result for each in one.metrics] == ["not shown", "not shown"]


def test_nothing_to_gate_is_not_a_pass():
    unscored = side([1] * 40)
    scores = tuple(replace(each, scores={"accuracy_strict": None, "tokens": 1.0}) for each in unscored.scores)
    unscored = replace(unscored, scores=scores, metrics=metrics_of(scores))
    with pytest.raises(UserError, match="has no value of accuracy_strict"):
        gate.check(unscored, unscored, {})
    assert gate.check(unscored, unscored, {"tokens": 1.0}).result == "holds"


def test_only_what_both_answered_is_shown_and_decides():
    now, then = side([1] * 60, first=40), side([0] * 40 + [1] * 40, name="old")
    verdict = gate.check(replace(now, settings=SETTINGS | {"limit": 60}), then, {})
    assert verdict.problems == 40
    difference = verdict.metrics[0].difference
    assert (difference.before, difference.after, difference.n_pairs) == (1.0, 1.0, 40)
    assert verdict.notes == (
        "20 of 60 replies of run/before have no partner in old and are left out",
        "40 of 80 replies of old have no partner in run/before and are left out",
    )


LOST = [
    # All the same, 100 problems: it holds, and so it does with one reply unknown, but not with three.
    ({"unscored": 0}, "holds", ""),
    ({"unscored": 1}, "not shown", "1 replies are lost or scored on one side only: counted at their worst, the loss"),
    ({"missing": 1}, "not shown", "may be as large as 5.45 pp (5.00 pp allowed)"),
    ({"unscored": 2, "missing": 1}, "not shown", "3 replies are lost"),
    ({"unknown_then": 1}, "holds", ""),
    ({"unknown_then": 1, "wrong": 1}, "not shown", "1 replies are lost or scored on one side only"),
    ({"unscored": 1, "tolerance": 0.06}, "holds", ""),
    ({"missing": 30, "limit": 70, "tolerance": 0.06}, "holds", ""),
]


@pytest.mark.parametrize(("lost", "expected", "reason"), LOST)
def test_a_reply_that_is_lost_never_makes_it_hold(lost, expected, reason):
    """Without the reply that is worse the rest would hold; whoever loses it, or its score, has not shown that."""

    def without(evaluation: Evaluation, places: int) -> Evaluation:
        scores = tuple(replace(each, scores=dict.fromkeys(each.scores)) for each in evaluation.scores[:places])
        scores += evaluation.scores[places:]
        return replace(evaluation, scores=scores, metrics=metrics_of(scores))

    then = without(side([1] * 100), lost.get("unknown_then", 0))
    now = without(
        side(([0] * lost.get("wrong", 0) + [1] * 100)[: 100 - lost.get("missing", 0)]), lost.get("unscored", 0)
    )
    now = replace(now, settings=SETTINGS | ({"limit": lost["limit"]} if "limit" in lost else {}))
    judged = result(now, then, accuracy_strict=lost.get("tolerance", 0.05))
    assert (judged.result, reason in judged.reason) == (expected, True), judged.reason


def test_what_has_no_worst_value_does_not_hold_with_a_reply_lost():
    then, now = side([1] * 100, tokens=[3.0] * 100), side([1] * 100, tokens=[3.0] * 99 + [None])
    assert result(now, then, "tokens", tokens=1.0).reason == (
        "1 replies are lost or scored on one side only, and tokens has no worst value"
    )


def test_several_replies_a_problem_are_counted_by_problem():
    def drawn(right: list[int]) -> Evaluation:
        flat = side(right)
        places = [(f"q{n // 4}", n % 4) for n in range(len(right))]
        scores = tuple(
            replace(each, problem_id=problem, index=index)
            for each, (problem, index) in zip(flat.scores, places, strict=True)
        )
        completions = tuple(
            replace(each, problem_id=problem, index=index)
            for each, (problem, index) in zip(flat.completions, places, strict=True)
        )
        return replace(flat, scores=scores, completions=completions, metrics=metrics_of(scores))

    verdict = gate.check(drawn([1, 0, 1, 0] * 10), drawn([0, 1, 1, 0] * 5 + [1, 0, 0, 1] * 5), {})
    assert verdict.problems == 10
    assert verdict.metrics[0].difference.n_pairs == 40


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"dataset": "dapo"}, "dataset: gsm8k and dapo"),
        ({"format": "think"}, "format: xml and think"),
        ({"language": "id"}, "language: en and id"),
        ({"temperature": 1.0}, "temperature: 0.0 and 1.0"),
        ({"max_tokens": 9}, "max_tokens: not known and 9"),
    ],
)
def test_other_settings_are_not_comparable(changed, expected):
    other = side([1] * 40, name="old")
    with pytest.raises(UserError, match="run/before is not comparable with old: " + expected):
        gate.check(side([1] * 40), replace(other, settings=SETTINGS | changed), {})


def test_other_prompts_and_other_problems_are_not_comparable():
    with pytest.raises(UserError, match="the prompts differ"):
        gate.check(side([1] * 40, prompt="other"), side([1] * 40), {})
    with pytest.raises(UserError, match="no problem is in both"):
        gate.check(side([1] * 40, first=40), side([1] * 40), {})


def test_another_engine_version_checkpoint_or_place_of_the_file_is_comparable():
    old, new = side([1] * 80, name="old"), side([1] * 80)
    old = replace(
        old,
        settings=SETTINGS | {"dataset": "/home/ci/q.jsonl", "engine": "vllm", "checkpoint": "a"},
        provenance={"engine": "vllm", "versions": {"torch": "2.12.0", "vllm": "1"}, "checkpoint": {"x": "1"}},
    )
    new = replace(new, settings=SETTINGS | {"dataset": "./q.jsonl", "checkpoint": "b"})
    verdict = gate.check(new, old, {})
    assert verdict.result == "holds"
    paired, made = verdict.notes
    assert paired.endswith(": engine: vllm and transformers")
    assert made == "not made alike by run/before and old: torch 2.13.0 and 2.12.0"


def test_reports_survive_hostile_names():
    name = 'reward/<a href="x">|\x00\x1b[31m[/b]]]>&\ud800\uffff'
    values = {name: [1.0] * 80, "format_strict": [1.0] * 40 + [0.0] * 40}
    then = side([1] * 80, name="old|\x07<b>\n", **values | {"format_strict": [1.0] * 80})
    verdict = gate.check(side([1] * 80, **values), then, {name: 0.0})
    suite = ElementTree.fromstring(gate_reports.junit(verdict).encode())
    assert suite.attrib["name"] == "harness"
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("3", "2")
    assert {case.attrib["classname"] for case in suite.iter("testcase")} == {"harness.gate"}
    cases = {case.attrib["name"]: [each.attrib for each in case.findall("failure")] for case in suite.iter("testcase")}
    assert cases["accuracy_strict"] == []
    assert cases["format_strict"][0]["type"] == "worse"
    assert cases['reward/<a href="x">|[31m[/b]]]>&'][0]["type"] == "not shown"
    text = gate_reports.markdown(verdict)
    assert text.startswith(r"### harness gate: regressed (format\_strict); not shown (reward/\<a")
    assert "old\\| \\<b\\> " in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {row.replace("\\|", "").count("|") for row in rows} == {8}
    assert not set(text) & {"\x00", "\x1b", "\x07"}


def test_help_and_page_name_the_tolerance_in_force():
    from typer.testing import CliRunner

    from harness.cli.app import app

    shown = f"{gate.TOLERANCE:g}"
    assert shown in " ".join(CliRunner().invoke(app, ["gate", "--help"]).output.split())
    assert f"{shown} ({100 * gate.TOLERANCE:g} points)" in (ROOT / "reports" / "README.md").read_text(encoding="utf-8")
