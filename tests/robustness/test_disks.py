"""Disks that are full or read-only, artefacts that are cut, edited or gone: noticed, named, never a wrong number."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import JOB

from harness.storage.files import cache_folder, read_json, whole_lines
from harness.storage.run_folder import Run

SETTINGS = ("steps=2", "prompts_per_step=2", "generations=2", "save_steps=1", "eval_every=0")


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 KiB, and a function that mounts it again with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        return shutil.which("mount") is not None and not subprocess.run(command, capture_output=True).returncode

    if not mount("size=64k"):
        pytest.skip("mounting a small disk takes rights that this user has not")
    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_room(disk, harness):
    folder, mount = disk
    command = ["run", "--before-after", "--quiet", "--limit", "40", "--output", folder / "r"]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    kept, stops = b"", 0
    for size in ("64k", "500k", "32m"):
        assert mount(f"remount,size={size}")
        done = harness(*command)
        journal = folder / "r/before/completions.jsonl"
        lines = whole_lines(journal)
        assert lines.startswith(kept)
        kept = lines
        if done.returncode:
            stops += 1
            assert done.returncode == 2, done.stderr
            assert "Traceback" not in done.stderr
            assert "make room" in done.stderr.splitlines()[-1]
    assert done.returncode == 0, done.stderr
    assert stops >= 2
    assert kept.count(b"\n") == 40


def test_a_read_only_disk_is_named(disk, job, command):
    folder, mount = disk
    assert mount("remount,size=32m")
    shutil.copytree(job, folder / "r")
    assert mount("remount,ro")
    for arguments in (("eval", "--output", folder / "new"), ("report", folder / "r"), ("score", folder / "r")):
        code, said = command(*arguments)
        assert code == 2
        assert "cannot be written (Read-only file system)" in said or "Read-only file system: make room" in said
        assert ".part" not in said
        assert "Traceback" not in said


@pytest.fixture
def run(job, tmp_path):
    shutil.copytree(job, tmp_path / "r")
    return Run.open(tmp_path / "r")


FRESH = "bring it back, or start over with --fresh"
READERS = {
    "before/completions.jsonl": (("report",), FRESH),
    "after/scores.jsonl": (("report",), "run `harness score"),
    "after/metrics.json": (("report",), "run `harness score"),
    "train/log.jsonl": (("report",), FRESH),
    "train/rollouts.jsonl": (("report",), FRESH),
    "train/adapter/adapter_model.safetensors": (("export", "--to", "lora"), FRESH),
    "train/adapter/adapter_config.json": (("export", "--to", "lora"), FRESH),
}


@pytest.mark.parametrize("name", READERS)
def test_an_artefact_that_is_edited_cut_or_gone_is_refused(run, command, name):
    file, (reader, fix) = run.path / name, READERS[name]
    whole = file.read_bytes()
    edited = whole.replace(b"1", b"2", 1)
    assert edited != whole
    for content, what in ((edited, "was changed after it was written"), (whole[:-1], "was changed"), (None, "is gone")):
        file.unlink() if content is None else file.write_bytes(content)
        code, said = command(*reader, run.path)
        assert code == 2
        assert f"{file}: {what}" in said
        assert fix in said


@pytest.mark.parametrize(
    ("again", "name"),
    [
        (("eval",), "before/completions.jsonl"),
        (("eval",), "before/scores.jsonl"),
        (("train",), "train/log.jsonl"),
        (("train",), "train/adapter/adapter_model.safetensors"),
        (("run", "--before-after"), "before/completions.jsonl"),
        (("run", "--before-after"), "train/adapter/adapter_config.json"),
    ],
)
def test_the_command_that_made_a_file_believes_no_other_when_it_has_nothing_to_do(run, command, again, name):
    code, said = command(*again, *JOB, "--output", run.path)
    assert code == 0, said
    file = run.path / name
    file.write_bytes(file.read_bytes()[:-1])
    code, said = command(*again, *JOB, "--output", run.path)
    assert code == 2
    assert f"{file}: was changed after it was written" in said


def test_every_finished_file_that_is_read_again_has_a_hash(run):
    assert {*READERS, "comparison.json", "train/effective_config.json"} <= run.hashes.stored().keys()


def test_what_can_be_made_from_the_rest_is_made_again(run, command):
    metrics, comparison = run.path / "after/metrics.json", run.path / "comparison.json"
    before, compared = read_json(metrics), read_json(comparison)
    metrics.write_text(metrics.read_text().replace("0.", "0.9", 1))
    (run.path / "before/scores.jsonl").unlink()
    comparison.write_text("{}")
    code, said = command("score", run.path)
    assert code == 0, said
    assert read_json(metrics) == before
    assert read_json(comparison) == compared


def test_a_folder_that_is_moved_while_a_file_is_written_is_one_line(run, command, monkeypatch):
    away, replace = run.path.with_name("away"), Path.replace

    def moved_first(temporary: Path, target: Path) -> Path:
        run.path.rename(away)
        return replace(temporary, target)

    monkeypatch.setattr(Path, "replace", moved_first)
    code, said = command("score", run.path)
    assert (code, said.count("harness: ")) == (2, 1), said
    assert said.endswith("its folder was moved or removed meanwhile: give its new place\n")
    monkeypatch.undo()
    code, said = command("score", away)
    assert code == 0, said


def test_a_cached_baseline_that_was_edited_is_drawn_again(harness, tmp_path):
    harness("eval", "--limit", "4", "--output", "first")
    (kept,) = (cache_folder() / "baselines").iterdir()
    text = kept.read_text()
    kept.write_text(text.replace('"n_tokens": ', '"n_tokens": 1', 1))
    done = harness("eval", "--limit", "4", "--output", "second")
    assert done.returncode == 0, done.stderr
    assert "from the cache of baselines" not in done.stderr
    assert kept.read_text() == text


def test_a_checkpoint_cut_short_is_one_line(harness, tmp_path):
    from harness.models import checkpoints

    shutil.copytree(checkpoints.locate("embedded"), tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = harness("eval", "--model", tmp_path / "cut", "--recipe", "tiny", "--limit", "4")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "model.safetensors" in done.stderr.splitlines()[-1]
