import hashlib
import os
import subprocess

import pytest
from conftest import write_jsonl

from harness.errors import UserError
from harness.storage import files
from harness.storage.files import cut_journal, lives, read_journal, temporary_of, write_json


def test_a_broken_line_inside_the_journal_is_named(tmp_path):
    path = tmp_path / "completions.jsonl"
    path.write_text('{"a": 1}\n{"a":\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"completions\.jsonl:2: broken line"):
        read_journal(path)


def test_a_training_killed_before_its_first_checkpoint_begins_again(tmp_path):
    write_jsonl(tmp_path / "probes.jsonl", [{"step": 0}, {"step": 2}])
    assert cut_journal(tmp_path / "probes.jsonl", 0) == []
    write_jsonl(tmp_path / "probes.jsonl", [{"step": 0}, {"step": 2}])
    assert cut_journal(tmp_path / "probes.jsonl", 1) == [{"step": 0}]


def test_a_process_that_ended_and_was_not_waited_for_does_not_live():
    with subprocess.Popen(["sleep", "100"]) as process:
        assert lives(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        os.kill(process.pid, 0)
        assert not lives(process.pid)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_write_that_is_cut_short_leaves_the_old_file_alone(tmp_path, monkeypatch, error):
    write_json(tmp_path / "a.json", {"old": 1})

    def fail(file: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        write_json(tmp_path / "a.json", {"new": 1})
    assert [file.read_text() for file in tmp_path.iterdir()] == ['{\n  "old": 1\n}\n']


def test_what_killed_processes_left_under_temporary_names_goes_when_the_file_is_written_again(tmp_path):
    with subprocess.Popen(["true"]) as killed:
        pass
    left, of_a_folder = (tmp_path / f"{name}.{killed.pid}.part" for name in ("[a].json", "export"))
    others = [tmp_path / name for name in (f"[a].json.{os.getppid()}.part", "[a].json.x.part", f"b.{killed.pid}.part")]
    for file in (left, *others):
        file.touch()
    (of_a_folder / "inner").mkdir(parents=True)
    write_json(tmp_path / "[a].json", {})
    assert temporary_of(tmp_path / "export").name == f"export.{os.getpid()}.part"
    assert not left.exists()
    assert not of_a_folder.exists()
    assert all(file.exists() for file in others)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 9, 4001])
def test_a_file_is_hashed_to_its_end_part_by_part(tmp_path, monkeypatch, size):
    content = bytes(place % 251 for place in range(size))
    (tmp_path / "weights").write_bytes(content)
    monkeypatch.setattr(files, "HASHED_BYTES", 4)
    assert files.sha256(tmp_path / "weights") == hashlib.sha256(content).hexdigest()
