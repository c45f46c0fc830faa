"""SIGKILL, on a run and on what it has left: nothing finished is lost, drawn twice or believed when it is not whole."""

import os
import subprocess
import sys
import time

import pytest

from baselines.robustness.kills import STAGES, killed_and_alone
from harness.errors import UserError
from harness.storage.run_folder import Run


def test_killed_once_in_every_stage_it_ends_as_if_left_alone(tmp_path):
    settings = ("steps=4", "prompts_per_step=2", "generations=2", "save_steps=2", "eval_every=2")
    arguments = ["--limit", "12", "--engine-arg", "batch_size=2"]
    arguments += [word for setting in settings for word in ("--set", setting)]
    found = killed_and_alone(tmp_path, arguments, kills=5, seed=1)
    assert found["kills"] == dict.fromkeys(STAGES, 1)
    assert 0 < found["of the command alone"] < 5
    assert found["journals that lost a line"] == found["journalled replies drawn again"] == 0
    assert found["files that differ"] == []


@pytest.fixture
def started(tmp_path):
    """A run in progress: its process, its folder."""
    command = [f"{sys.prefix}/bin/harness", "run", "--limit", "64", "--engine-arg", "batch_size=1", "--output", "r"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=os.environ) as program:
        while not (tmp_path / "r/before/completions.jsonl").is_file():
            time.sleep(0.05)
            assert program.poll() is None
        yield program, tmp_path / "r"
        program.kill()


def test_a_second_process_is_refused_by_name_and_a_lock_left_behind_is_taken_over(started):
    program, folder = started
    with pytest.raises(UserError, match=rf"process {program.pid} is using it: wait, or give another --output"):
        Run.open(folder).lock()
    program.kill()
    program.wait()
    killed = time.monotonic()
    Run.open(folder).lock()
    assert time.monotonic() - killed < 5
    assert (folder / ".lock").read_text() == f"{os.getpid()}\n"
