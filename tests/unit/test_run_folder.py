import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import configuration

from harness.errors import UserError
from harness.storage import lock
from harness.storage.journal import Journal
from harness.storage.run_folder import Run
from harness.types import Completion


def test_another_configuration_never_writes_into_a_run(tmp_path):
    Run.create(tmp_path / "run", configuration(seed=1), "harness run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(UserError, match=r"seed: 1 there, 2 now"):
        Run.create(tmp_path / "run", configuration(seed=2), "harness run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    fresh = Run.create(tmp_path / "run", configuration(seed=2), "harness run", fresh=True)
    assert fresh.config.seed == 2
    aside = [folder for folder in tmp_path.iterdir() if folder.name.startswith("run.")]
    assert json.loads((aside[0] / "run.json").read_bytes())["configuration"]["seed"] == 1


@pytest.mark.parametrize("record", ["{}", "[]", "{", '{"configuration": {}}'])
def test_a_damaged_record_is_named(tmp_path, record):
    (tmp_path / "run.json").write_text(record)
    with pytest.raises(UserError, match=r"run\.json"):
        Run.open(tmp_path).record.read()


def test_a_side_whose_replies_are_gone_is_not_graded_as_nothing(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    with run.record.stage("before"):
        pass
    with pytest.raises(UserError, match="its replies are gone"):
        run.finished_sides()


def test_two_processes_never_share_a_folder(tmp_path, monkeypatch):
    Run.create(tmp_path / "run", configuration(), "harness run")
    code = "import sys, pathlib; from harness.storage import lock; it = lock.hold(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-u", "-c", f"{code}; print('!'); input()", tmp_path / "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "!\n"
        with pytest.raises(UserError, match=f"process {other.pid} is using it"):
            Run.create(tmp_path / "run", configuration(), "harness run").lock()
        with pytest.raises(UserError, match=f"process {other.pid} is using it"):
            Run.create(tmp_path / "run", configuration(), "harness run", fresh=True)
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
        with pytest.raises(UserError, match="srun starts the command several times: leave srun out"):
            Run.create(tmp_path / "run", configuration(), "harness run").lock()
        other.communicate("\n")


# One of several that create one run at the same moment: says what came of it, and holds what it has until told to end.
RACES = """
import sys
from pathlib import Path
from conftest import configuration
from harness.errors import UserError
from harness.storage.run_folder import Run

config = configuration(seed=int(sys.argv[2]))
print("ready", flush=True)
input()
try:
    run = Run.create(Path(sys.argv[1]), config, "harness run")
    run.record.set_provenance("before", {"dataset_sha": sys.argv[2]})
    print("created", flush=True)
except UserError as error:
    print(error, flush=True)
input()
"""


@pytest.mark.parametrize("seeds", ["1111", "1212"], ids=["one configuration", "two configurations"])
def test_of_processes_that_race_for_a_new_folder_one_has_it_and_the_others_say_so(tmp_path, seeds):
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"}
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACES, tmp_path / "new" / "run", seed],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                )
            )
            for seed in seeds
        ]  # fmt: skip
        assert {racer.stdout.readline() for racer in racers} == {"ready\n"}
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        said = [racer.stdout.readline().strip() for racer in racers]
        provenance = Run.open(tmp_path / "new" / "run").record.provenance
        for racer in racers:
            racer.communicate("\n")
    winner = said.index("created")
    assert provenance == {"before": {"dataset_sha": seeds[winner]}}
    others = [text for number, text in enumerate(said) if number != winner]
    refusal = r".*/new/run: .*process.* is using it: wait, or give another --output"
    assert all(re.fullmatch(refusal, text) for text in others)


def test_a_lock_on_a_folder_that_was_removed_meanwhile_is_taken_in_the_new_one(tmp_path, monkeypatch):
    folder, is_free = tmp_path / "r", lock._is_free
    folder.mkdir()

    def removed_meanwhile(file) -> bool:
        monkeypatch.setattr(lock, "_is_free", is_free)
        shutil.rmtree(folder)
        return is_free(file)

    monkeypatch.setattr(lock, "_is_free", removed_meanwhile)
    run = Run.create(folder, configuration(), "harness run")
    assert (folder / "run.json").is_file()
    assert os.path.samestat(os.fstat(run.lock_file.fileno()), (folder / ".lock").stat())


def test_a_folder_that_is_gone_when_a_run_is_refused_is_no_bug(tmp_path):
    run = Run.create(tmp_path / "r", configuration(), "harness run")
    run.path.rename(tmp_path / "away")
    run.remove_if_empty()
    assert (tmp_path / "away" / "run.json").is_file()


def test_starting_over_behind_a_link_keeps_the_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x").mkdir()
    link = tmp_path / "x"
    link.symlink_to(tmp_path / "disk" / "x")
    Run.create(link, configuration(seed=1), "harness run")
    assert Run.create(link, configuration(seed=2), "harness run", fresh=True).config.seed == 2
    assert link.resolve() == tmp_path / "disk" / "x"
    (old,) = (folder for folder in (tmp_path / "disk").iterdir() if folder.name != "x")
    assert Run.open(old).config.seed == 1


def test_a_link_to_nothing_gets_its_folder(tmp_path):
    (tmp_path / "x").symlink_to("nowhere")
    Run.create(tmp_path / "x", configuration(), "harness run")
    assert (tmp_path / "nowhere" / "run.json").is_file()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UserError, match=r"circle: cannot be written .*: give another --output"):
        Run.create(tmp_path / "circle", configuration(), "harness run")


@pytest.mark.parametrize(
    ("there", "output", "left"),
    [
        ([], "runs/x", []),
        (["runs"], "runs/x", ["runs"]),
        (["runs", "runs/x"], "runs/x", ["runs", "runs/x"]),
        (["mine"], "mine/results/runs/x", ["mine"]),
    ],
)
def test_a_run_that_was_refused_removes_the_folders_that_it_made_and_no_others(tmp_path, there, output, left):
    for name in there:
        (tmp_path / name).mkdir()
    Run.create(tmp_path / output, configuration(), "harness run").remove_if_empty()
    assert sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")) == left


def test_a_reply_that_stands_twice_is_refused(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    with Journal(run.path / "before" / "completions.jsonl") as journal:
        journal.append([Completion("p-1", 0, "Why?", "1", "because", 3, "stop", "abc", 7)] * 2)
    with pytest.raises(UserError, match="one reply is there twice"):
        run.completions("before")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and not a run folder"):
        Run.create(tmp_path, configuration(), "harness run")


def test_a_stage_remembers_its_state_its_seconds_and_its_end(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    with pytest.raises(KeyboardInterrupt), run.record.stage("before"):
        raise KeyboardInterrupt
    assert run.record.stages["before"]["state"] == "stopped"
    assert run.record.ended("before") is None
    started = datetime.now(UTC).replace(microsecond=0)
    with run.record.stage("before") as provenance:
        provenance["engine"] = "scripted"
    assert run.record.is_done("before")
    assert started <= run.record.ended("before") <= datetime.now(UTC)
    assert run.record.provenance["before"] == {"engine": "scripted"}


def test_a_side_was_generated_when_the_record_says_or_else_its_file(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    assert run.generated("before") is None
    journal = run.path / "before/completions.jsonl"
    journal.parent.mkdir()
    journal.write_text("{}")
    os.utime(journal, (86_400, 86_400))
    assert run.generated("before") == datetime(1970, 1, 2, tzinfo=UTC)
    run.record.mark("before", "done", 1.0, {}, datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC))
    assert run.record.stages["before"]["ended"] == "2024-02-29T23:59:58+00:00"
    assert run.generated("before") == datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    other = Run.create(tmp_path / "other", configuration(), "harness run")
    other.take_over(run, "before", ["before"])
    assert other.generated("before") == run.generated("before")


@pytest.mark.parametrize("date", ["yesterday", "0001-01-01T00:00:00+23:59", "2024-13-01"])
def test_a_date_that_is_none_is_named(tmp_path, date):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    with run.record.changing() as record:
        record["stages"]["before"] = {"state": "done", "seconds": 1.0, "ended": date}
    with pytest.raises(UserError, match=r"run\.json: damaged or edited"):
        run.generated("before")


def test_grading_and_drawing_a_run_that_is_at_work_is_refused(tmp_path, harness):
    run = Run.create(tmp_path / "r", configuration(), "harness eval")
    run.lock()
    for name in ("score", "report"):
        done = harness(name, run.path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "is using it: wait" in done.stderr


def test_this_process_goes_on_in_a_folder_that_it_holds(tmp_path):
    run = Run.create(tmp_path / "r", configuration(), "harness eval")
    run.lock()
    again = Run.open(run.path)
    again.lock()
    assert again.lock_file is run.lock_file


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def unable(file, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unable)
    with pytest.raises(UserError, match=r"this file system does not support locks .*: give another --output"):
        Run.create(tmp_path / "r", configuration(), "harness eval").lock()
