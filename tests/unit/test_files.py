import pytest
from conftest import write_jsonl

from harness.errors import UserError
from harness.storage.files import cut_journal, read_journal


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
