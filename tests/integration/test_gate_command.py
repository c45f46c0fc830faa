"""harness gate: baseline files, exit codes, what is written, mistakes."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import write_jsonl
from scored_sides import SETTINGS, side

from harness.cli import exit_code_of
from harness.cli.app import app
from harness.evaluation.sides import read_baseline, save_baseline

COMMITTED = Path(__file__).parent.parent.parent / "baselines" / "runs" / "tiny-before.json"
MORE = {"format_strict": [1.0] * 100, "tokens": [3.0, 4.0] * 50, "reward/[/b]": [1.0] * 100}


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
    (folder / "torn.json").write_text((folder / "good.json").read_text()[:-40])
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
    assert "reward/[/b] " in harness("gate", files / "bad.json", "--baseline", files / "good.json", *more[1:]).stdout
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
    (("good.json", "--baseline", "torn.json"), "write one with `harness gate RUN --write-baseline FILE`"),
    (("good.json", "--baseline", "short.json"), "not a whole baseline file"),
    (("good.json", "--baseline", "twice.json"), "a reply is in it twice"),
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
    """80 replies of a script, of which an adapter spoils half."""
    block = "<start_working_out>so<end_working_out><SOLUTION>{}</SOLUTION>"
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": f"{n} and 1?", "answer": n + 1} for n in range(80)])
    rows = [{"question": f"{n} and 1?", "text": block.format(n + 1)} for n in range(80)]
    replies = write_jsonl(tmp_path / "r.jsonl", rows)
    done = harness(
        "eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--output", "run"
    )
    assert done.returncode == 0, done.stderr
    done = harness("gate", "run", "--write-baseline", "kept/base.json", "--json")
    assert json.loads(done.stdout) == {"baseline": "kept/base.json", "side": "run/before", "replies": 80}
    done = harness("gate", "run/before", "--baseline", "kept/base.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "gate: holds"), done.stderr

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["stages"]["train"] = {"state": "stopped", "seconds": 1.0}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    done = harness("gate", "run", "--baseline", "kept/base.json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "its stage 'train' is not finished" in done.stderr


def test_the_embedded_model_still_answers_as_when_its_baseline_was_kept(harness):
    """80 of the 100 problems of baselines/runs/tiny-before.json, every score of them."""
    done = harness("eval", "--limit", "80", "--output", "now", "--quiet")
    assert done.returncode == 0, done.stderr
    named = [word for name in ("tokens=1", "format_tags=0.05") for word in ("--tolerance", name)]
    done = harness("gate", "now", "--baseline", COMMITTED, *named, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["problems"], len(found["metrics"])) == (80, 6)
    assert {each["difference"]["delta"] for each in found["metrics"]} == {0.0}
