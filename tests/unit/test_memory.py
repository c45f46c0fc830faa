"""How much memory there is and is free: a container's limit and what it uses count."""

import pytest

from harness import memory

GIB = 2**30


@pytest.mark.parametrize(
    ("files", "whole", "free"),
    [
        ({"memory.max": GIB, "memory.current": GIB // 2, "memory.stat": "anon 5\ninactive_file 0\n"}, GIB, GIB // 2),
        # Files that were read stay in memory as long as nothing else wants it.
        (
            {"memory.max": GIB, "memory.current": GIB, "memory.stat": f"anon 5\ninactive_file {GIB // 4}\n"},
            GIB, GIB // 4,
        ),
        (
            {"memory/memory.limit_in_bytes": GIB, "memory/memory.usage_in_bytes": 2 * GIB,
             "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 0\n"},
            GIB, 0,
        ),
    ],
    ids=["used", "files", "the first version"],
)  # fmt: skip
def test_a_container_gives_what_is_left_of_its_limit(tmp_path, monkeypatch, files, whole, free):
    (tmp_path / "memory").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(str(content))
    monkeypatch.setattr(memory, "GROUPS_FOLDER", tmp_path)
    assert (memory.all_bytes(), memory.free_bytes()) == (whole, free)


@pytest.mark.parametrize("files", [{}, {"memory.max": "max", "memory.current": 5, "memory.stat": "inactive_file 0\n"}])
def test_without_a_limit_the_machine_counts(tmp_path, monkeypatch, files):
    for name, content in files.items():
        (tmp_path / name).write_text(str(content))
    monkeypatch.setattr(memory, "GROUPS_FOLDER", tmp_path)
    assert GIB < memory.free_bytes() <= memory.all_bytes()
