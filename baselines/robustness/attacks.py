"""What a round of chaos.py may do to a command: each attack is a function of the round, and says one promise."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from baselines.robustness.rounds import Broken, Round
from baselines.robustness.world import JOURNALS, OLDER_RUN
from harness.storage.files import read_json, whole_lines, write_json

LARGEST = 2**42
YEARS = 365 * 86400.0
RUNS = ("run", "eval", "run embedded")
STORED = ("score", "report", "compare", "view", "export logs", "baseline")
OLDER = ("score 0.1", "report 0.1", "compare 0.1")
ALL = (*RUNS, "run cached", *STORED, "export")
PLACES = ("run.json", "comparison.json", "before", "before/completions.jsonl", "after/scores.jsonl", "report", "new")


@dataclass(frozen=True)
class Attack:
    """`on` names the commands; one that `mounts` needs the right to mount a small disk."""

    promise: str
    do: Callable[[Round], None]
    on: tuple[str, ...]
    mounts: bool = False


def kill(round: Round) -> None:
    """SIGKILL up to three times, at any moment."""
    for _ in range(round.chance.randint(1, 3)):
        _kill_once(round)
    round.completes()


def _kill_once(round: Round, later: float | None = None) -> None:
    program = round.start()
    round.wait_a_while(program, later)
    program.signal(signal.SIGKILL, everything=round.chance.random() < 0.5)
    round.ended(program, -signal.SIGKILL, 0)


def stop(round: Round) -> None:
    program = round.start()
    round.wait_a_while(program)
    number = round.chance.choice([signal.SIGTERM, signal.SIGINT])
    program.signal(number, everything=round.chance.random() < 0.5)
    # Before Python has its handlers a signal ends it as any program.
    round.ended(program, 130, 0, -number)
    round.completes()


def pause(round: Round) -> None:
    """Ctrl-Z and fg, and a second command while the first one stands still."""
    program = round.start()
    round.wait_a_while(program)
    program.signal(signal.SIGSTOP, everything=True)
    time.sleep(0.2)
    second = round.start()
    round.wait_a_while(second, 2 * round.seconds)
    program.signal(signal.SIGCONT, everything=True)
    _one_or_both(round, [program, second])


def race(round: Round) -> None:
    programs = []
    for _ in range(round.chance.randint(2, 3)):
        programs.append(round.start())
        time.sleep(round.chance.choice([0, 0.01, 0.1]))
    _one_or_both(round, programs)


def _one_or_both(round: Round, programs: list) -> None:
    """At least one command ends well; the others too, or with the lock's line."""
    codes = [round.ended(program, 0, 2) for program in programs]
    refused = [program.said for program, code in zip(programs, codes, strict=True) if code]
    if 0 not in codes or not all("is using it: wait" in text for text in refused):
        raise Broken(f"of commands at once: {codes}, {refused}")
    round.completes()


def full(round: Round) -> None:
    """A disk with little room, more of it each time."""
    with _disk(round, f"{_kilobytes(round.folder) + 16}k") as mount:
        for room in sorted(round.chance.choices(range(8, 400), k=2)):
            mount(f"remount,size={_kilobytes(round.folder) + room}k")
            round.ended(round.start(), 0, 2)
        mount("remount,size=64m")
        round.completes()


def read_only(round: Round) -> None:
    with _disk(round, "64m") as mount:
        if round.chance.random() < 0.5 and round.command.is_run:
            _kill_once(round)
            round.wait_for_all()
        mount("remount,ro")
        before = round.state()
        round.ended(round.start(), 0, 2)
        if round.state() != before:
            raise Broken("a read-only folder was written")
        mount("remount,rw")
        round.completes()


@contextmanager
def _disk(round: Round, size: str) -> Iterator[Callable[[str], None]]:
    """Put the round's folder on a small disk of its own; yields what mounts it again with other options."""

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", round.folder], check=True, capture_output=True)

    aside = round.folder.with_name("aside")
    round.folder.rename(aside)
    round.folder.mkdir()
    mount(f"size={size}")
    try:
        shutil.copytree(aside, round.folder, dirs_exist_ok=True)
        yield mount
    finally:
        subprocess.run(["umount", "-l", round.folder], check=True)


def _kilobytes(folder: Path) -> int:
    return sum(-(-file.lstat().st_size // 4096) * 4 + 4 for file in folder.rglob("*"))


def file_limit(round: Round) -> None:
    """No file may grow beyond a limit, as by a quota."""
    limit = round.chance.randint(200, 100_000)
    program = round.start(prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    round.ended(program, 0, 2)
    round.completes()


def clock(round: Round) -> None:
    """What is left by a clock that was years off: times of files, and the dates of stages."""
    if round.command.is_run:
        _kill_once(round)
    for file in round.folder.rglob("*"):
        when = time.time() + round.chance.uniform(-10, 10) * YEARS
        os.utime(file, (when, when))
    record = round.run / "run.json"
    if record.is_file():
        content = read_json(record)
        for stage in content["stages"].values():
            if stage.get("ended"):
                stage["ended"] = round.chance.choice(["1970-01-01T00:00:00+00:00", "2099-12-31T23:59:59+14:00"])
        write_json(record, content)
    round.completes()


def moved(round: Round) -> None:
    """The folder is renamed between two commands."""
    if round.command.is_run:
        _kill_once(round)
    round.move()
    round.completes()


def moved_under_way(round: Round) -> None:
    """The folder is renamed while the command works in it, and renamed back."""
    program = round.start()
    round.wait_a_while(program)
    away = round.folder / "away"
    is_moved = round.run.exists()
    if is_moved:
        round.run.rename(away)
    round.ended(program, 0, 2)
    if is_moved:
        # What the command may have begun anew under the old name is not the run.
        shutil.rmtree(round.run, ignore_errors=True)
        away.rename(round.run)
    round.completes()


def another_machine(round: Round) -> None:
    """A copy whose lock names a process of elsewhere, or one that lives here and is another."""
    if round.command.is_run:
        _kill_once(round)
    if round.run.is_dir():
        owner = round.chance.choice([f"{os.getpid()}\n", "1\n", f"{10**30}\n", "node-7 4711\n", "", "\udc80"])
        (round.run / ".lock").write_text(owner, errors="surrogateescape")
        (round.run / ".record.lock").touch()
    round.move(by_copy=True)
    round.completes()


def journal_lines(round: Round) -> None:
    """Lines of a journal that are swapped, doubled, cut or have another line end: read, or named."""
    if round.command.is_run:
        _kill_once(round, round.seconds * round.chance.uniform(0.3, 1))
    files = [round.run / name for name in JOURNALS if whole_lines(round.run / name)]
    if files:
        file = round.chance.choice(files)
        whole = file.read_bytes()
        file.write_bytes(round.chance.choice(CHANGES)(whole.splitlines(keepends=True), round.chance))
        if round.ended(round.start(), 0, 2):
            round.names(file)
            file.write_bytes(whole)
    round.completes()


def _swapped(lines: list[bytes], chance) -> bytes:
    chance.shuffle(lines)
    return b"".join(lines)


CHANGES = (
    _swapped,
    lambda lines, chance: b"".join([*lines, chance.choice(lines)]),
    lambda lines, chance: b"".join(lines).replace(b"\n", b"\r\n"),
    lambda lines, chance: b"".join(lines)[: -chance.randint(1, len(lines[-1]))],
    lambda lines, chance: b"\n".join(lines),
    lambda lines, chance: b"\xef\xbb\xbf" + b"".join(lines),
    lambda lines, chance: b"".join(lines) + b"\0" * chance.randint(1, 4096),
    lambda lines, chance: b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2] + b"\n",
)


def link(round: Round) -> None:
    """A link out of the run folder, in the place of a file or folder or in a new place."""
    outside, place = round.folder / "outside", round.run / round.chance.choice(PLACES)
    outside.mkdir()
    target, was_there = outside / "target", place.exists()
    place.rename(target) if was_there else target.mkdir()
    place.symlink_to(target)
    before = round.state(outside)
    if round.ended(round.start(), 0, 2):
        round.names(place)
    # Reading through a link is fine for a page of many runs, which reads only what stays in their folder.
    if round.state(outside) != before:
        raise Broken(f"{place} is a link, through which something was written")
    place.unlink()
    if was_there:
        target.rename(place)
    shutil.rmtree(outside)
    round.completes()


def large(round: Round) -> None:
    """A file of four terabytes in the place of one of the run's."""
    file = round.chance.choice([each for each in sorted(round.run.rglob("*")) if each.is_file()])
    whole = file.read_bytes()
    with suppress(OSError):
        os.truncate(file, LARGEST)
    if round.ended(round.start(), 0, 2):
        round.names(file)
    file.write_bytes(whole)
    round.completes()


def cache(round: Round) -> None:
    """The cached baseline is cut, replaced, or cannot be read: the replies are generated instead."""
    (file,) = (round.folder / "cache" / "baselines").iterdir()
    whole = file.read_bytes()
    change = round.chance.choice(["cut", "other", "folder", "away", "circle", "large", "twice"])
    if change in ("folder", "away", "circle"):
        file.unlink()
    if change == "folder":
        file.mkdir()
    elif change == "circle":
        file.symlink_to(file.name)
    elif change == "large":
        os.truncate(file, LARGEST)
    elif change != "away":
        cut = whole[: round.chance.randrange(len(whole))]
        file.write_bytes({"cut": cut, "other": whole.replace(b"1", b"2"), "twice": whole * 2}[change])
    round.completes()


ATTACKS = {
    "kill": Attack("a killed command's work is kept, and nothing finished is done twice", kill, ALL),
    "stop": Attack("Ctrl-C and SIGTERM end in order, and the same command continues", stop, ALL),
    "pause": Attack("a command that stands still keeps its folder", pause, (*RUNS, "score", "report")),
    "race": Attack("of commands at once on one folder one works, the others say so", race, (*RUNS, "score", "report")),
    "full disk": Attack("a full disk is one line, and the run continues when there is room", full, ALL, mounts=True),
    "file limit": Attack("so is a limit on a file's size", file_limit, ALL),
    "read-only": Attack("a read-only folder is one line and stays as it is", read_only, ALL, mounts=True),
    "clock": Attack("nothing depends on the clock", clock, (*RUNS, *STORED)),
    "moved": Attack("a run folder may be moved", moved, (*RUNS, "score", "report", "export logs", "baseline")),
    "moved under way": Attack("also while a command works in it", moved_under_way, (*RUNS, "score", "report")),
    "another machine": Attack("a copy continues wherever it is", another_machine, (*RUNS, "score", "report")),
    "journal": Attack("a changed journal is read right or named", journal_lines, (*RUNS, *STORED)),
    "link": Attack("nothing outside the folder is written through its links", link, STORED),
    "large file": Attack("a file too large for memory is named", large, STORED),
    "older version": Attack("a run of version 0.1 survives a kill as well", kill, OLDER if OLDER_RUN.is_dir() else ()),
    "cache": Attack("a damaged cache of baselines is never believed", cache, ("run cached",)),
}
