"""SIGKILL, on a run and on what it has left: at most the replies of the last quarter second are lost.

What is on the disk is neither lost, generated twice nor believed when it is not whole.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from baselines.robustness.kills import STAGES, killed_and_alone
from harness.errors import UserError
from harness.storage.files import read_journal
from harness.storage.journal import LOST_SECONDS
from harness.storage.run_folder import Run

# Journals replies as fast as it can, and prints the time after each.
APPENDS = """
import sys, time
from dataclasses import replace
from pathlib import Path
from harness.storage.journal import Journal
from harness.types import Completion

reply, number = Completion("p", 0, "Why?", "1", "because " * 125, 300, "stop", "abc", 7), 0
with Journal(Path(sys.argv[1])) as journal:
    while True:
        journal.append([replace(reply, position=number)])
        print(time.monotonic(), flush=True)
        number += 1
"""


def test_killed_once_in_every_stage_it_ends_as_if_left_alone(tmp_path):
    settings = ("steps=4", "prompts_per_step=2", "generations=2", "save_steps=2", "eval_every=2")
    arguments = ["--limit", "12", "--engine-arg", "batch_size=2"]
    arguments += [word for setting in settings for word in ("--set", setting)]
    found = killed_and_alone(tmp_path, arguments, kills=5, seed=1)
    assert found["kills"] == dict.fromkeys(STAGES, 1)
    assert 0 < found["of the command alone"] < 5
    assert found["journals that lost a line"] == 0
    # A batch that a kill cut short, here of two replies on either side, is generated again as a whole.
    assert found["journalled replies drawn again"] <= 2
    assert found["files that differ"] == []


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_kill_loses_at_most_what_was_finished_in_the_last_quarter_second(tmp_path, seconds):
    """Exact on a busy machine too: an append has waited for what had been appended a quarter second before it began,
    and it began when the one before had ended."""
    path = tmp_path / "completions.jsonl"
    with subprocess.Popen([sys.executable, "-c", APPENDS, path], stdout=subprocess.PIPE, text=True) as program:
        ended = []
        for line in program.stdout:
            if line.endswith("\n"):
                ended.append(float(line))
            if len(ended) > 2 and ended[-2] - ended[0] > seconds:
                program.kill()
    assert program.returncode == -signal.SIGKILL
    saved = [row["position"] for row in read_journal(path)]
    assert saved == list(range(len(saved)))
    assert len(saved) >= sum(end <= ended[-2] - LOST_SECONDS for end in ended) > 0


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
