"""One round of chaos.py: a command that is disturbed, what has to hold whenever it ends, and that it completes."""

import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from baselines.robustness.world import JOURNALS, Command, Program, left_by
from harness.errors import UserError
from harness.storage.files import whole_lines
from harness.storage.lock import hold

# In so many seconds every process of a command has ended that was killed or is done.
LAST_PROCESS = 15.0


class Broken(Exception):
    """A promise that did not hold, in words."""


@dataclass
class Round:
    """A command in a `folder` of its own; it takes `seconds` and leaves `expected` if it is left alone."""

    folder: Path
    command: Command
    chance: random.Random
    seconds: float
    expected: dict[str, object]
    name: str = field(init=False)
    programs: list[Program] = field(default_factory=list)
    said: str = ""

    def __post_init__(self) -> None:
        self.name = self.command.run

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / self.name

    def start(self, prepare: Callable[[], object] | None = None) -> Program:
        program = Program(self.command.words_for(self.name), self.folder, prepare)
        self.programs.append(program)
        return program

    def wait_a_while(self, program: Program, seconds: float | None = None) -> None:
        """Wait up to the seconds of the whole command, or until it has ended."""
        until = time.monotonic() + self.chance.uniform(0, self.seconds if seconds is None else seconds)
        while program.poll() is None and time.monotonic() < until:
            time.sleep(0.005)

    def ended(self, program: Program, *codes: int) -> int:
        """The exit code of a command: one of `codes`, 2 with one line. Raises Broken if it is not."""
        try:
            code = program.wait()
        except TimeoutError as error:
            raise Broken(str(error)) from error
        self.said = program.said
        last = self.said.strip().splitlines()[-1:]
        if code not in codes:
            raise Broken(f"exit code {code}: {' | '.join(self.said.splitlines()[-3:])}")
        if "Traceback" in self.said:
            raise Broken(f"a traceback: {' | '.join(self.said.splitlines()[-3:])}")
        if code == 2 and not (last and last[0].startswith("harness: ") and self.said.count("harness: ") == 1):
            raise Broken(f"exit code 2 without one line of ours: {self.said[-500:]!r}")
        return code

    def names(self, file: Path) -> None:
        """Raise Broken if the last refusal does not name a file, as seen from the command."""
        if str(file.relative_to(self.folder)) not in self.said:
            raise Broken(f"{file.name} was damaged, and is not named: {self.said.strip()}")

    def completes(self) -> None:
        """Run the same command to its end. Raises Broken if that is not the undisturbed one's."""
        before = self._lines()
        self.ended(self.start(), 0)
        for name, lines in before.items():
            if not set(lines.splitlines()) <= set(whole_lines(self.run / name).splitlines()):
                raise Broken(f"{name} lost or changed a line that stood there")
        left = left_by(self.command, self.folder, self.name)
        if left != self.expected:
            differing = [key for key in left.keys() | self.expected.keys() if left.get(key) != self.expected.get(key)]
            raise Broken(f"not as undisturbed: {', '.join(sorted(differing))}")
        self._leaves_nothing_behind()

    def _lines(self) -> dict[str, bytes]:
        return {name: whole_lines(self.run / name) for name in JOURNALS}

    def wait_for_all(self) -> None:
        """Wait for the last process of every command. Raises Broken if one does not end."""
        until = time.monotonic() + LAST_PROCESS
        while any(program.has_processes for program in self.programs):
            if time.monotonic() > until:
                raise Broken("a process is left")
            time.sleep(0.01)

    def _leaves_nothing_behind(self) -> None:
        self.wait_for_all()
        temporary = [str(file) for file in self.folder.rglob("*.part")] + os.listdir(self.folder / "tmp")
        if temporary:
            raise Broken(f"temporary files are left: {', '.join(temporary)}")
        if (self.run / "run.json").is_file():
            try:
                hold(self.run).close()
            except UserError as error:
                raise Broken(f"a lock is left: {error}") from error

    def move(self, by_copy: bool = False) -> None:
        """Give the run folder another name, as the command does from now on."""
        if self.run.is_dir():
            (shutil.copytree if by_copy else shutil.move)(self.run, self.folder / "moved")
            if by_copy:
                shutil.rmtree(self.run)
            self.name = "moved"

    def state(self, folder: Path | None = None) -> dict[str, tuple[int, int]]:
        """Inode and time of everything below a folder."""
        files = sorted((folder or self.folder).rglob("*"))
        return {str(file): (file.lstat().st_ino, file.lstat().st_mtime_ns) for file in files}

    def close(self) -> None:
        """End what is left of the round, its folder too."""
        for program in self.programs:
            program.signal(9, everything=True)
            with suppress(ChildProcessError):
                program.wait()
            program.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.folder.with_name("aside"), ignore_errors=True)
