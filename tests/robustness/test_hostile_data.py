"""Datasets that somebody else made: types, sizes and names that no library promises to take end in one line."""

import datetime
import decimal
import json
import os
import resource
from pathlib import Path

import pyarrow as pa
import pytest
from fuzzing import ends_in_order
from pyarrow import parquet

from harness.config import check
from harness.data import datasets

MANY = 60_000


def read(file: Path) -> int:
    def command() -> None:
        config = check({"name": "hostile", "checkpoint": "embedded", "dataset": str(file)})
        datasets.evaluation_problems(datasets.settle_split(config, trains=False))

    return ends_in_order(command)


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (pa.array([2**62, 1], pa.timestamp("us")), 2),
        (pa.array([2**62, 1], pa.timestamp("ns")), 0),
        (pa.array([1, 1], pa.timestamp("us", tz="Nope/Zone")), 2),
        (pa.array([1, 1], pa.timestamp("us", tz="../../etc/passwd")), 2),
        (pa.array([2**31 - 1, 1], pa.date32()), 2),
        (pa.array([2**62, 1], pa.duration("us")), 0),
        (pa.array([datetime.time(1)] * 2), 0),
        (pa.array([b"\xff", b"4"]), 0),
        (pa.array([decimal.Decimal("1e30"), decimal.Decimal(4)]), 0),
        (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), 0),
        (pa.nulls(2), 0),
    ],
    ids=lambda each: str(each.type) if isinstance(each, pa.Array) else "",
)
def test_a_parquet_file_of_any_type_ends_in_order(tmp_path, answers, code):
    parquet.write_table(pa.table({"question": pa.array(["a", "b"]), "answer": answers}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == code


def test_a_parquet_file_that_grows_beyond_the_memory_is_one_line(tmp_path):
    text = pa.array(["a" * 10_000] * 20_000)
    parquet.write_table(pa.table({"question": text, "answer": text}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 2**20
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + 2**27, limits[1]))
    try:
        assert read(tmp_path / "a.parquet") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (["question", "answer", *(f"c{number}" for number in range(MANY))], 0),
        ([f"c{number}" * 3 for number in range(MANY)], 2),
        (["question", "answer", "c" * 10_000, "c" * 10_000], 2),
    ],
    ids=["many", "none of ours", "twice"],
)
def test_a_file_of_many_columns_is_read_in_time_and_named_briefly(tmp_path, capsys, head, code):
    row = ",".join(["4"] * len(head))
    (tmp_path / "a.csv").write_text(f"{','.join(head)}\n{row}\n")
    assert read(tmp_path / "a.csv") == code


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_file_is_not_read(tmp_path, command, kind):
    file = tmp_path / "replies.jsonl"
    if kind == "device":
        file.symlink_to("/dev/zero")
    else:
        os.mkfifo(file)
    words = ("grade", "--dataset", "word-problems", "--format", "think", "--input", file, "--output", tmp_path / "out")
    code, said = command(*words)
    assert (code, said.count("\n")) == (2, 1)


def test_no_message_holds_a_whole_file(tmp_path, command):
    (tmp_path / "a.jsonl").write_text(json.dumps({f"k{number}" * 9: 1 for number in range(9_000)}) + "\n")
    code, said = command("eval", "--dataset", tmp_path / "a.jsonl", "--limit", "1")
    assert code == 2
    assert len(said) < 4_000
