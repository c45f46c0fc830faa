import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy
import pytest
from conftest import write_jsonl

from harness import gate
from harness.cli import exit_code_of
from harness.cli.app import app
from harness.compare import metrics_of
from harness.errors import UserError
from harness.sides import read_baseline, save_baseline
from harness.stats import paired_share_interval
from harness.types import Completion, Evaluation, Score

COMMITTED = Path(__file__).parent.parent / "baselines" / "runs" / "tiny-before.json"
MORE = {"format_strict": [1.0] * 100, "tokens": [3.0, 4.0] * 50, "reward/[/b]": [1.0] * 100}
SETTINGS = {"dataset": "gsm8k", "format": "xml", "language": "en", "temperature": 0.0, "engine": "auto"}


def side(right: list[int], name: str = "run/before", prompt: str = "p", first: int = 0, **more) -> Evaluation:
    """Replies that are right (1) or wrong (0), one problem each from `first` on; `more` are other metrics' values."""
    completions = [Completion(f"q{first + n}", 0, "?", "1", "x", 2, "stop", prompt, 0) for n in range(len(right))]
    scores = []
    for n, value in enumerate(right):
        values = {"accuracy_strict": float(value)} | {key: column[n] for key, column in more.items()}
        scores.append(Score(f"q{first + n}", 0, "1", "en", values, {}))
    provenance = {"engine": "transformers", "versions": {"torch": "2.13.0"}}
    return Evaluation(name, tuple(completions), tuple(scores), metrics_of(scores), provenance, dict(SETTINGS))


def result(now: Evaluation, then: Evaluation, metric: str = "accuracy_strict", **named: float) -> gate.Judged:
    return next(each for each in gate.judge(now, then, named).metrics if each.name == metric)


@pytest.mark.parametrize(
    ("then", "now", "tolerance", "expected", "reason"),
    [
        ([1, 0] * 50, [1, 0] * 50, 0.05, "holds", ""),
        ([1] * 19 + [0] * 19, [1] * 19 + [0] * 19, 0.05, "holds", ""),
        ([1] * 37, [1] * 37, 0.05, "not shown", "reaches to -5.03 pp, tolerance 5.00 pp; about 77 problems would"),
        ([1] * 100, [1] * 90 + [0] * 10, 0.05, "worse", "reaches to -15.89 pp, tolerance 5.00 pp, and leaves 0 out"),
        ([1] * 100, [1] * 90 + [0] * 10, 0.2, "holds", "worse, but within the tolerance"),
        ([1] * 100, [0] * 2 + [1] * 98, 0.05, "not shown", "; so many problems would do, were there no difference"),
        ([0] * 50 + [1] * 50, [1] * 50 + [0] * 50, 0.05, "not shown", "problems would be needed"),
        ([0] * 100, [1] * 40 + [0] * 60, 0.0, "holds", ""),
        ([1, 0] * 50, [1, 0] * 50, 0.0, "not shown", "; no number of problems can show it"),
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
    verdict = gate.judge(side([1] * 40, **both), side([1] * 40, **both), {})
    assert {each.name: each.tolerance for each in verdict.metrics} == {"accuracy_strict": 0.05, "format_strict": 0.05}
    named = gate.judge(side([1] * 40, **both), side([1] * 40, **both), {"tokens": 1.0, "format_strict": 0.1})
    assert {each.name: each.tolerance for each in named.metrics} == {
        "accuracy_strict": 0.05, "format_strict": 0.1, "tokens": 1.0,
    }  # fmt: skip


def test_what_cannot_be_judged_does_not_hold():
    lost = gate.judge(
        side([1] * 40, format_strict=[None] * 40, tokens=[1.0] * 40),
        side([1] * 40, format_strict=[1.0] * 40, tokens=[1.0] * 40),
        {},
    )
    assert lost.line == "gate: not shown (format_strict)"
    assert "no reply is scored on both sides" in lost.reasons[0]
    one = gate.judge(side([1], tokens=[1.0]), side([1], tokens=[1.0]), {"tokens": 1.0})
    assert [each.result for each in one.metrics] == ["not shown", "not shown"]


def test_nothing_to_gate_is_not_a_pass():
    ungraded = side([1] * 40)
    scores = tuple(replace(each, scores={"accuracy_strict": None, "tokens": 1.0}) for each in ungraded.scores)
    ungraded = replace(ungraded, scores=scores, metrics=metrics_of(scores))
    with pytest.raises(UserError, match="has no value of accuracy_strict"):
        gate.judge(ungraded, ungraded, {})
    assert gate.judge(ungraded, ungraded, {"tokens": 1.0}).result == "holds"


def test_only_what_both_answered_is_shown_and_decides():
    verdict = gate.judge(side([1] * 60, first=40), side([0] * 40 + [1] * 40, name="old"), {})
    assert verdict.problems == 40
    difference = verdict.metrics[0].difference
    assert (difference.before, difference.after, difference.n_pairs) == (1.0, 1.0, 40)
    assert verdict.notes == (
        "20 of 60 replies of run/before have no partner in old and are left out",
        "40 of 80 replies of old have no partner in run/before and are left out",
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

    verdict = gate.judge(drawn([1, 0, 1, 0] * 10), drawn([0, 1, 1, 0] * 5 + [1, 0, 0, 1] * 5), {})
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
        gate.judge(side([1] * 40), replace(other, settings=SETTINGS | changed), {})


def test_other_prompts_and_other_problems_are_not_comparable():
    with pytest.raises(UserError, match="the prompts differ"):
        gate.judge(side([1] * 40, prompt="other"), side([1] * 40), {})
    with pytest.raises(UserError, match="no problem is in both"):
        gate.judge(side([1] * 40, first=40), side([1] * 40), {})


def test_another_engine_version_checkpoint_or_place_of_the_file_is_comparable():
    old, new = side([1] * 40, name="old"), side([1] * 40)
    old = replace(
        old,
        settings=SETTINGS | {"dataset": "/home/ci/q.jsonl", "engine": "vllm", "checkpoint": "a"},
        provenance={"engine": "vllm", "versions": {"torch": "2.12.0", "vllm": "1"}, "checkpoint": {"x": "1"}},
    )
    new = replace(new, settings=SETTINGS | {"dataset": "./q.jsonl", "checkpoint": "b"})
    verdict = gate.judge(new, old, {})
    assert verdict.result == "holds"
    made, paired = verdict.notes
    assert paired.endswith(": engine: vllm and transformers")
    assert made == "not made alike by run/before and old: torch 2.13.0 and 2.12.0"


def test_reports_survive_hostile_names():
    name = 'reward/<a href="x">|\x00\x1b[31m[/b]]]>&\ud800\uffff'
    values = {name: [1.0] * 40, "format_strict": [1.0] * 20 + [0.0] * 20}
    then = side([1] * 40, name="old|\x07<b>\n", **values | {"format_strict": [1.0] * 40})
    verdict = gate.judge(side([1] * 40, **values), then, {name: 0.0})
    suite = ElementTree.fromstring(gate.junit(verdict).encode())
    assert suite.attrib["name"] == "harness"
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("3", "2")
    cases = {case.attrib["name"]: [each.attrib for each in case.findall("failure")] for case in suite.iter("testcase")}
    assert cases["accuracy_strict"] == []
    assert cases["format_strict"][0]["type"] == "worse"
    assert cases['reward/<a href="x">|[31m[/b]]]>&'][0]["type"] == "not shown"
    text = gate.markdown(verdict)
    assert text.startswith(r"### harness gate: regressed (format\_strict); not shown (reward/\<a")
    assert "old\\| \\<b\\> " in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {row.replace("\\|", "").count("|") for row in rows} == {8}
    assert not set(text) & {"\x00", "\x1b", "\x07"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Baseline files, and one that is none."""
    folder = tmp_path_factory.mktemp("files")
    save_baseline(side([1, 0] * 50, name="good", **MORE), folder / "good.json")
    save_baseline(side([1, 0] * 50, name="same", **MORE), folder / "same.json")
    save_baseline(side([0] * 100, name="bad", **MORE), folder / "bad.json")
    save_baseline(replace(side([1] * 100), settings=SETTINGS | {"format": "think"}), folder / "other.json")
    stored = json.loads((folder / "good.json").read_text())
    broken = {
        "none": {"model": "x"},
        "short": stored | {"replies": [["q", 0]]},
        "twice": stored | {"replies": stored["replies"][:1] * 2},
        "text": stored | {"replies": [["q", 0, "p", ["right", 1, 1, 1]]]},
        "flat": stored | {"settings": []},
    }
    for name, value in broken.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "samples.jsonl").write_text("{}\n")
    return folder


def test_a_baseline_comes_back_as_it_was(files):
    original = side([1, 0] * 50, name="good", **MORE)
    stored = read_baseline(files / "good.json")
    assert (stored.name, stored.settings, stored.metrics) == (original.name, original.settings, original.metrics)
    assert [each.scores for each in stored.scores] == [each.scores for each in original.scores]
    assert stored.provenance["engine"] == "transformers"
    lines = (files / "good.json").read_text().splitlines()
    assert sum(line.startswith('    ["q') for line in lines) == 100


def test_exit_codes_and_what_is_written(harness, files, tmp_path):
    """0 holds, 3 regressed, 2 not comparable."""
    (tmp_path / "summary.md").write_text("before\n")
    reports = ("--junit", "made/junit.xml", "--summary", "summary.md")
    done = harness("gate", files / "same.json", "--baseline", files / "good.json", *reports)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "same against good, 100 problems"
    assert done.stdout.splitlines()[-1] == "gate: holds"

    more = ("--json", "--tolerance", "reward/[/b]=1")
    done = harness("gate", files / "bad.json", "--baseline", files / "good.json", *reports, *more)
    assert done.returncode == 3, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["gate"] == "regressed"
    assert {each["name"]: each["result"] for each in last["metrics"]} == {
        "accuracy_strict": "worse", "format_strict": "holds", "reward/[/b]": "holds",
    }  # fmt: skip
    assert "reward/[/b] " in done.stdout
    suite = ElementTree.parse(tmp_path / "made" / "junit.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("3", "1")
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("before\n### harness gate: holds\n")
    assert "### harness gate: regressed (accuracy\\_strict)\n" in summary

    done = harness("gate", files / "good.json", "--baseline", files / "other.json")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "not comparable with run/before: format: xml and think" in done.stderr


MISTAKES = [
    (("good.json",), "either --baseline"),
    (("good.json", "--baseline", "same.json", "--write-baseline", "x.json"), "either --baseline"),
    (("good.json", "--baseline", "nowhere"), "nowhere: no run folder"),
    (("nowhere", "--baseline", "good.json"), "nowhere: no run folder"),
    (("good.json", "--baseline", "./good.json"), "that is RUN itself"),
    (("good.json", "--baseline", "samples.jsonl"), "samples are not gated"),
    (("good.json", "--baseline", "none.json"), "not a baseline file"),
    (("good.json", "--baseline", "flat.json"), "not a baseline file"),
    (("good.json", "--baseline", "short.json"), "not a whole baseline file"),
    (("good.json", "--baseline", "twice.json"), "a reply stands there twice"),
    (("good.json", "--baseline", "text.json"), "not a whole baseline file"),
    (("good.json", "--baseline", "same.json", "--tolerance", "acuracy_strict=0.1"), "did you mean 'accuracy_strict'"),
    (("good.json", "--baseline", "same.json", "--tolerance", "tokens"), "write --tolerance key=value"),
    (("good.json", "--baseline", "same.json", "--tolerance", "tokens=few"), "a number from 0 on"),
    (("good.json", "--baseline", "same.json", "--tolerance", "tokens=-1"), "a number from 0 on"),
    (("good.json", "--baseline", "same.json", "--tolerance", "tokens=nan"), "a number from 0 on"),
    (("good.json", "--baseline", "same.json", "--tolerance", "tokens=inf"), "a number from 0 on"),
    (("good.json", "--baseline", "same.json", "--tolerance", "format_strict=5"), "5 percentage points are 0.05"),
    (("good.json", "--baseline", "same.json", "--junit", "."), "Is a directory"),
    (("good.json", "--baseline", "same.json", "--summary", "."), "Is a directory"),
    (("good.json", "--write-baseline", "x.txt"), "give a .json file's name"),
    (("good.json", "--write-baseline", "x.json", "--tolerance", "tokens=1"), "are for --baseline"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_nothing(files, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    assert exit_code_of(lambda: app(["gate", *arguments], standalone_mode=False)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert sorted(files.iterdir()) == before


def test_a_run_is_gated_by_its_last_side_or_a_named_one(harness, tmp_path):
    """40 replies of a script, of which an adapter spoils half."""
    block = "<start_working_out>so<end_working_out><SOLUTION>{}</SOLUTION>"
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": f"{n} and 1?", "answer": n + 1} for n in range(40)])
    rows = [{"question": f"{n} and 1?", "text": block.format(n + 1)} for n in range(40)]
    replies = write_jsonl(tmp_path / "r.jsonl", rows)
    done = harness(
        "eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--output", "run"
    )
    assert done.returncode == 0, done.stderr
    done = harness("gate", "run", "--write-baseline", "kept/base.json", "--json")
    assert json.loads(done.stdout) == {"baseline": "kept/base.json", "side": "run/before", "replies": 40}
    done = harness("gate", "run/before", "--baseline", "kept/base.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "gate: holds"), done.stderr

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["stages"]["train"] = {"state": "stopped", "seconds": 1.0}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    done = harness("gate", "run", "--baseline", "kept/base.json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "its stage 'train' is not finished" in done.stderr


def test_the_embedded_model_still_answers_as_when_its_baseline_was_kept(harness):
    """40 of the 100 problems of baselines/runs/tiny-before.json, every score of them."""
    done = harness("eval", "--limit", "40", "--output", "now", "--quiet")
    assert done.returncode == 0, done.stderr
    named = [word for name in ("tokens=1", "format_tags=0.05") for word in ("--tolerance", name)]
    done = harness("gate", "now", "--baseline", COMMITTED, *named, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["problems"], len(found["metrics"])) == (40, 6)
    assert {each["difference"]["delta"] for each in found["metrics"]} == {0.0}
