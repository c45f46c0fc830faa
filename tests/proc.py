"""What Linux says of other processes."""

import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

looks_into_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def command_of(process: int) -> bytes:
    """Its words; empty once it has ended, unread as its end may be."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until_gone(processes: Iterable[int], word: bytes, seconds: float) -> None:
    """Wait for the end of processes that have a word in their command: another may get their number."""
    until = time.monotonic() + seconds
    while left := [each for each in processes if word in command_of(each)]:
        assert time.monotonic() < until, f"processes are left: {left}"
        time.sleep(0.05)
