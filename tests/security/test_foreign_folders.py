"""Run folders that somebody else made: links out of them, pipes, and files larger than any memory."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import configuration

from harness.errors import UserError
from harness.storage import lock
from harness.storage.run_folder import Run

STORED = Path(__file__).parent.parent / "unit" / "run-0.1"
# More than any machine's memory; a sparse file takes no room.
LARGEST = 2**42
PLACES = (
    "run.json", ".lock", ".record.lock", "comparison.json", "before", "after/scores.jsonl", "before/completions.jsonl",
    "train", "train/adapter", "train/log.jsonl", "report", "report/plots", "report/index.html", "export", "new file",
)  # fmt: skip
LINK, KIND = "a link out of the folder or to nothing: put the file itself there", "neither a file nor a folder"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(STORED, tmp_path / "r"))


def state(folder: Path) -> dict[str, tuple]:
    return {str(each): (each.lstat().st_ino, each.lstat().st_mtime_ns) for each in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_out_of_a_run_folder_is_refused_before_anything_is_written(run, command, tmp_path, place, relative):
    outside = tmp_path / "outside"
    outside.mkdir()
    here, there = run / place, outside / "target"
    if here.exists():
        here.rename(there)
    else:
        here.parent.mkdir(parents=True, exist_ok=True)
        there.mkdir()
    here.symlink_to(os.path.relpath(there, here.parent) if relative else there)
    before = state(outside)
    for arguments in (("report", run), ("score", run), ("export", "--to", "inspect", run), ("compare", run)):
        code, said = command(*arguments)
        assert (code, said) == (2, f"harness: {here}: {LINK}, or remove it\n")
    with pytest.raises(UserError, match="a link out of the folder"):
        Run.create(run, configuration(), "harness run")
    assert state(outside) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("nowhere"), LINK),
        (lambda path: path.symlink_to(path.name), LINK),
        (lambda path: path.symlink_to("/dev/zero"), LINK),
        (os.mkfifo, KIND),
    ],
    ids=["dangling", "circle", "device", "pipe"],
)
@pytest.mark.parametrize("place", ["before/metrics.json", ".record.lock", "report"])
def test_what_is_no_file_is_refused(run, command, place, make, said):
    path = run / place
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    make(path)
    assert command("report", run)[0] == 2
    assert f"{path}: {said}" in command("score", run)[1]


def test_links_that_stay_inside_and_a_folder_behind_a_link_are_fine(run, command, tmp_path):
    """A user's /data is often a link to another disk."""
    (run / "before").rename(run / "first")
    (run / "before").symlink_to("first")
    (run / "tracker").mkdir()
    (run / "tracker" / "debug-core.log").symlink_to(tmp_path / "wandb's own log")
    (tmp_path / "data").symlink_to(run)
    code, said = command("report", tmp_path / "data")
    assert (code, said) == (0, "")


@pytest.mark.parametrize("output", ["--output"])
def test_a_comparison_of_somebody_elses_is_not_written_through_links(run, command, tmp_path, output):
    page = tmp_path / "page"
    assert command("compare", run, output, page)[0] == 0
    (tmp_path / "mine.html").write_text("mine")
    (page / "index.html").unlink()
    (page / "index.html").symlink_to("../mine.html")
    code, said = command("compare", run, output, page)
    assert (code, said) == (2, f"harness: {page}/index.html: {LINK}, or remove it\n")
    assert (tmp_path / "mine.html").read_text() == "mine"


@pytest.mark.parametrize(
    "place",
    ["run.json", "before/completions.jsonl", "after/scores.jsonl", "before/metrics.json", "train/log.jsonl",
     "train/rollouts.jsonl", "train/effective_config.json"],
)  # fmt: skip
def test_a_file_larger_than_the_memory_is_named_with_its_size(run, command, place):
    os.truncate(run / place, LARGEST)
    code, said = command("report", run)
    assert code == 2
    assert f"{run / place}: its 4,096.0 GiB do not fit into the free memory of" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_so_is_a_dataset(command, tmp_path, suffix):
    file = tmp_path / f"data.{suffix}"
    file.touch()
    os.truncate(file, LARGEST)
    code, said = command("eval", "--dataset", file, "--output", tmp_path / "r")
    assert code == 2
    assert f"{file}: its 4,096.0 GiB do not fit into" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("option", ["--system-prompt", "--recipe"])
def test_so_are_texts_of_the_user(command, tmp_path, option):
    file = tmp_path / "large.toml"
    file.touch()
    os.truncate(file, LARGEST)
    code, said = command("eval", option, file, "--output", tmp_path / "r")
    assert code == 2
    assert f"{file}: its 4,096.0 GiB do not fit into" in said


@pytest.mark.parametrize("content", [b"9" * 40, b"\xff\xfe", b"0", b"", b"process 1 of another machine\n"])
def test_a_lock_of_any_content_is_taken_over(run, content):
    """As in a folder that was copied while a run was going on, on this machine or on another one."""
    (run / ".lock").write_bytes(content)
    held = lock.hold(run)
    assert (run / ".lock").read_text() == f"{os.getpid()}\n"
    held.close()
