"""The journal: what it holds and when, whole lines in order, and that no disk keeps the engine's thread waiting."""

import errno
import itertools
import os
import resource
import threading
import time
from dataclasses import replace

import pytest

from harness.storage.files import json_line, read_journal, whole_lines
from harness.storage.journal import LOST_SECONDS, Journal
from harness.types import Completion

REPLY = Completion("p-1", 0, "Why?", "1", "because\u2028 \ud800", 3, "stop", "abc", 7)


def reply(number: int) -> Completion:
    return replace(REPLY, problem_id=f"p-{number}", position=number)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "before" / "completions.jsonl"


def positions(path) -> list[int]:
    return [row["position"] for row in read_journal(path)]


def test_a_line_that_a_kill_cut_short_is_dropped_and_written_again(path):
    with Journal(path) as journal:
        journal.append([REPLY, REPLY])
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert len(read_journal(path)) == 1
    with Journal(path) as journal:
        journal.append([REPLY])
    assert path.read_bytes() == whole
    assert Completion(**read_journal(path)[1]) == REPLY


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt])
def test_however_it_ends_all_is_there_in_order(path, end):
    def append_and_end():
        with Journal(path) as journal:
            for number in range(0, 900, 3):
                journal.append([reply(number), reply(number + 1), reply(number + 2)])
                journal.append([])
            if end:
                raise end

    if end:
        with pytest.raises(end):
            append_and_end()
    else:
        append_and_end()
    assert positions(path) == list(range(900))


@pytest.fixture
def syncs(monkeypatch, path):
    """The thread of each sync of the journal, and how many bytes it had; a sync takes as long as it is told to."""
    found, settings, sync = [], {"seconds": 0.0}, os.fsync

    def slowly(number: int) -> None:
        size = os.fstat(number).st_size
        time.sleep(settings["seconds"])
        sync(number)
        found.append((threading.get_ident(), size))

    monkeypatch.setattr(os, "fsync", slowly)
    return found, settings


def test_the_callers_thread_never_syncs(path, syncs):
    found, _ = syncs
    with Journal(path) as journal:
        for number in range(50):
            journal.append([reply(number)])
    assert 1 <= len(found) <= 50
    assert threading.get_ident() not in {thread for thread, _ in found}
    assert found[-1][1] == path.stat().st_size


@pytest.mark.parametrize("seconds", [0.02, 2 * LOST_SECONDS])
def test_what_is_older_than_a_quarter_second_is_synced_or_the_caller_waits(path, syncs, seconds):
    """Exact on a busy machine too: an append that was called later has waited for what had been appended before."""
    found, settings = syncs
    settings["seconds"] = seconds
    ends, line = [], len(json_line(vars(reply(1000))))
    with Journal(path) as journal:
        until = time.monotonic() + 4 * LOST_SECONDS
        while (called := time.monotonic()) < until:
            journal.append([reply(1000 + len(ends))])
            synced = found[-1][1] // line if found else 0
            assert synced >= sum(end <= called - LOST_SECONDS for end in ends)
            ends.append(time.monotonic())
            time.sleep(0.01)
    assert positions(path) == [1000 + number for number in range(len(ends))]


@pytest.fixture
def full_disk():
    """No file may grow beyond 20,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_stops_the_caller_soon_and_it_continues_when_there_is_room(path, full_disk):
    handed_over = []

    def append():
        with Journal(path) as journal:
            while len(handed_over) < 100_000:
                journal.append([reply(len(handed_over))])
                handed_over.append(None)
                time.sleep(0.0001)

    with pytest.raises(OSError, match="File too large"):
        append()
    full_disk()
    written = whole_lines(path).count(b"\n")
    assert 0 < written <= len(handed_over) < 100_000
    with Journal(path) as journal:
        journal.append([reply(number) for number in range(written, 500)])
    assert positions(path) == list(range(500))


def test_a_caller_that_waits_for_the_disk_hears_of_its_error(path, monkeypatch):
    def fail_late(number: int) -> None:
        time.sleep(2 * LOST_SECONDS)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def append():
        with Journal(path) as journal:
            for number in itertools.count():
                journal.append([reply(number)])
                time.sleep(0.01)

    monkeypatch.setattr(os, "fsync", fail_late)
    with pytest.raises(OSError, match="No space left"):
        append()


def test_an_error_of_the_last_write_comes_at_the_close(path, full_disk):
    with pytest.raises(OSError, match="File too large"), Journal(path) as journal:
        journal.append([reply(number) for number in range(1000)])
    full_disk()
