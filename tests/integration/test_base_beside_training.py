"""The base model evaluated beside the training, as with two GPUs: their names are made up, all runs on the CPU."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import configuration
from proc import children_of, command_of, looks_into_proc

from harness.errors import UserError
from harness.evaluation import pipeline
from harness.stages import of_run
from harness.storage.run_folder import Run

SETTINGS = ("steps=2", "prompts_per_step=2", "generations=2", "save_steps=2", "eval_every=0")
SEEN = ["made-up-1", "made-up-2"]
NAMES = ["before", "train", "after", "report"]
FILES = ("before/completions.jsonl", "train/adapter/adapter_model.safetensors", "after/completions.jsonl")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two processes with all cores' threads each wait for one another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory) -> Run:
    run = new_run(tmp_path_factory.mktemp("alone") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert pipeline.run_stages(run, NAMES, True, print, SEEN[:1]) == 0
    return run


def new_run(folder) -> Run:
    config = configuration(*SETTINGS, limit=4, trains=True)
    assert of_run(config, before_after=True) == NAMES
    run = Run.create(folder, config, "harness run")
    run.lock()
    return run


def test_the_same_files_as_one_after_the_other(tmp_path, capfd, one_after_the_other):
    beside, said = new_run(tmp_path / "beside"), []
    capfd.readouterr()
    assert pipeline.run_stages(beside, NAMES, False, said.append, SEEN) == 0
    lines = capfd.readouterr().err.splitlines()
    assert said == ["before: beside the training, on GPU made-up-2"]
    for file in FILES:
        assert (beside.path / file).read_bytes() == (one_after_the_other.path / file).read_bytes()
    assert beside.hashes.stored().keys() == one_after_the_other.hashes.stored().keys()
    assert all(beside.record.is_done(name) for name in NAMES)
    # What the base's evaluation says, without its progress, which would interrupt the training's.
    assert [line for line in lines if line.startswith("before")] == ["before: transformers engine, embedded"]
    assert "train: embedded, trl" in lines
    assert any(line.startswith("train 2/2") for line in lines)


def test_where_one_fails_the_other_finishes_and_the_same_command_continues(tmp_path, capfd):
    run = new_run(tmp_path / "run")
    journal = run.path / "before" / "completions.jsonl"
    journal.parent.mkdir()
    journal.write_text("[]\n")
    assert pipeline.run_stages(run, NAMES, True, print, SEEN) == 2
    assert "completions.jsonl:1: broken line" in capfd.readouterr().err
    assert (run.record.is_done("train"), run.record.is_done("before")) == (True, False)
    journal.unlink()
    assert pipeline.run_stages(run, NAMES, True, print, SEEN) == 0
    assert run.report.is_file()


@looks_into_proc
@pytest.mark.parametrize("killed", ["before", "train"])
def test_one_that_is_killed_lets_the_other_finish_and_the_same_command_completes(tmp_path, killed, one_after_the_other):
    run = new_run(tmp_path / "run")
    (other,) = {"before", "train"} - {killed}

    def kill() -> None:
        last = time.monotonic() + 60
        while run.record.stages.get(killed, {}).get("state") != "running":
            assert time.monotonic() < last
            time.sleep(0.01)
        (stage,) = [each for each in children_of(os.getpid()) if f"\0{killed}\0".encode() in command_of(each)]
        os.kill(stage, signal.SIGKILL)

    with ThreadPoolExecutor(1) as beside:
        killing = beside.submit(kill)
        with pytest.raises(UserError, match="the same command continues"):
            pipeline.run_stages(run, NAMES, True, print, SEEN)
        killing.result()
    assert (run.record.is_done(other), run.record.is_done(killed)) == (True, False)
    assert pipeline.run_stages(run, NAMES, True, print, SEEN) == 0
    for file in FILES:
        assert (run.path / file).read_bytes() == (one_after_the_other.path / file).read_bytes()


PROGRAM = """
import sys
from pathlib import Path
from harness.cli import end_with
from harness.evaluation.pipeline import run_stages
from harness.storage.run_folder import Run

run = Run.open(Path(sys.argv[1]))
run.lock()
end_with(lambda: run_stages(run, ["before", "train", "after", "report"], True, print, ["a", "b"]), 4.5)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_ends_both(tmp_path, number):
    run = Run.create(tmp_path / "run", configuration("steps=500", limit=300, trains=True), "harness run")
    run.lock_file = None  # the program below locks it
    with subprocess.Popen([sys.executable, "-c", PROGRAM, run.path], stderr=subprocess.PIPE, text=True) as program:
        while states(run) != ["running", "running"]:
            time.sleep(0.1)
            assert program.poll() is None
        started = time.monotonic()
        program.send_signal(number)
        # The stages have the same stderr, so it ends with the last of them.
        said = program.stderr.read()
    assert time.monotonic() - started < 6
    assert "Traceback" not in said
    assert "done" not in states(run)
    run.lock()


def states(run: Run) -> list[str]:
    return [stage["state"] for name, stage in sorted(run.record.stages.items())]
