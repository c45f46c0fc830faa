"""Run folders of an older version are read: run-0.1 is one of version 0.1.0, without its adapter and its report."""

import json
import shutil
from pathlib import Path

import pytest

import harness
from harness.statistics.compare import compare
from harness.storage.run_folder import Run

STORED = Path(__file__).parent / "run-0.1"


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.open(Path(shutil.copytree(STORED, tmp_path / "run")))


def test_its_sides_have_the_figures_that_it_stored(run):
    assert [side.name for side in run.evaluations()] == ["before", "after"]
    for side in run.evaluations():
        metrics = json.loads((STORED / side.name / "metrics.json").read_text())
        assert {name: side.metrics[name].mean for name in metrics} == {
            name: metric["mean"] for name, metric in metrics.items()
        }


def test_its_differences_come_out_the_same(run):
    stored = run.comparison()["metrics"]
    again = compare(*run.evaluations()).metrics
    assert {name: again[name].delta for name in stored} == {name: row["delta"] for name, row in stored.items()}


def test_a_notebook_shows_it(run):
    assert "accuracy_strict" in harness.load_run(run.path)._repr_html_()


@pytest.mark.parametrize("words", [("report",), ("gate", "--baseline"), ("compare",)])
def test_commands_take_it(run, words, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *options = words
    other = {"gate": [run.path / "before"], "compare": [STORED], "report": []}[name]
    code, printed = command(name, run.path, *options, *other)
    assert code in ((0, 3) if name == "gate" else (0,)), printed
