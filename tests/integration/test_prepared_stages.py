"""The next stage's process, which imports its libraries while the stage before it runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import configuration
from proc import command_of, looks_into_proc, parent_of

from harness.evaluation import pipeline
from harness.processes import QUIET, WAITS
from harness.stages import BASE, REPORT
from harness.storage.run_folder import Run

NAMES = [BASE, REPORT]


def new_run(folder: Path, **engine_args: str) -> Run:
    config = configuration(limit=4, engine="scripted", engine_args=engine_args)
    run = Run.create(folder, config, "harness run")
    run.lock()
    return run


@pytest.fixture
def replies(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text('{"text": "4"}\n' * 4)
    return str(path)


def prepared() -> list[int]:
    """The children of this process that wait for their turn."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = parent_of(int(process.name))
        except OSError:
            continue
        if parent == os.getpid() and WAITS.encode() in command_of(int(process.name)).split(b"\0"):
            found.append(int(process.name))
    return found


@looks_into_proc
def test_it_waits_and_then_runs(tmp_path, replies):
    run = new_run(tmp_path / "run", replies=replies)
    lane = pipeline._lane(run, NAMES, [QUIET], print)
    assert next(lane).wait() == 0
    (waiting,) = prepared()
    report = next(lane)
    assert report.pid == waiting
    assert report.wait() == 0
    assert next(lane, "the end") == "the end"
    assert run.report.is_file()


def test_stages_that_are_done_are_not_run_again(tmp_path, replies):
    run, said = new_run(tmp_path / "run", replies=replies), []
    for _ in range(2):
        assert pipeline.run_stages(run, [BASE], True, said.append) == 0
    assert said == ["before: done already"]


@looks_into_proc
def test_one_that_was_killed_is_started_again(tmp_path, replies):
    run = new_run(tmp_path / "run", replies=replies)
    lane = pipeline._lane(run, NAMES, [QUIET], print)
    next(lane).wait()
    (waiting,) = prepared()
    os.kill(waiting, signal.SIGKILL)
    os.waitid(os.P_PID, waiting, os.WEXITED | os.WNOWAIT)
    assert next(lane).wait() == 0
    assert run.report.is_file()


@looks_into_proc
def test_none_is_left_where_the_stage_before_it_fails(tmp_path, capfd):
    run = new_run(tmp_path / "run", replies=str(tmp_path / "missing.jsonl"))
    assert pipeline.run_stages(run, NAMES, True, print) == 2
    assert "missing.jsonl" in capfd.readouterr().err
    assert prepared() == []


def test_nothing_starts_where_all_is_done(tmp_path, replies):
    run, said = new_run(tmp_path / "run", replies=replies), []
    assert pipeline.run_stages(run, [BASE], True, print) == 0
    assert pipeline.run_stages(run, [BASE], True, said.append) == 0
    assert said == ["before: done already"]


def test_it_says_nothing_and_ends_where_its_turn_never_comes(tmp_path, replies):
    run = new_run(tmp_path / "run", replies=replies)
    command = [sys.executable, "-m", "harness.cli.stage", REPORT, str(run.path), WAITS]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
    assert not run.report.is_file()
