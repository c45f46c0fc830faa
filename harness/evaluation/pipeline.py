"""Run the stages of stages.py in order, each in a process of its own that reads and writes the run folder.

The next stage's process imports its libraries while the stage before it runs, which saves that time where a core is
free. Where there are GPUs for it, the base model is evaluated beside the training, which does not need its results.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO

from harness.config import Configuration
from harness.engines import WITHOUT_CHECKPOINT, engine_name, gpus, whole_number
from harness.errors import UserError
from harness.processes import LANG, OWN_SETTINGS, QUIET, REFUSAL, WAITS, ending, start
from harness.stages import REPORT, STAGES, of_base
from harness.storage.run_folder import Run

STAGE_ENDS_WITHIN = 3.5
POLL_SECONDS = 0.05
# What a progress bar prints where there is no terminal.
PROGRESS_LINE = re.compile(r".* \d+/\d+( [\d,]+ tokens/s)?")
Say = Callable[[str], None]
# Stages in order: yields each one's process, is resumed when that has ended, returns the exit code.
Lane = Generator[subprocess.Popen, None, int]


def run_stages(
    run: Run, names: list[str], quiet: bool, say: Say, seen: Sequence[str] | None = None, lang: str = ""
) -> int:
    """Run the stages that are not done yet; 0, or the exit code of one that failed, which has printed why.

    `seen` are the names of the GPUs, None: those of this machine. `lang` is the language of the page.
    """
    flags = [*([QUIET] if quiet else []), *([f"{LANG}{lang}"] if lang else [])]
    base, training = _base_and_training(run, names)
    lanes = gpus_side_by_side(run.config, seen) if base and training else None
    if lanes is None:
        return _finish(_lane(run, names, flags, say))
    for_base, for_training = lanes
    say(f"{' and '.join(STAGES[name].title for name in base)}: beside the training, on {_named(for_base)}")
    code = _finish(_lane(run, base, flags, say, for_base, beside=True), _lane(run, training, flags, say, for_training))
    return code or _finish(_lane(run, [name for name in names if name not in (*base, *training)], flags, say))


def gpus_side_by_side(config: Configuration, seen: Sequence[str] | None) -> tuple[list[str], list[str]] | None:
    """The GPUs of the base model's evaluation and of the training that run side by side; None: one after the other.

    The training takes one GPU. With a launcher or a rollout server it is the user who shares them out.
    """
    arguments = config.engine_args
    on_gpu = engine_name(config.engine) not in WITHOUT_CHECKPOINT and arguments.get("device") != "cpu"
    if not on_gpu or config.launcher or config.rollouts == "server":
        return None
    seen = gpus.of_this_machine()[0] if seen is None else seen
    needed = gpus.of_each_replica(arguments) * whole_number(gpus.REPLICAS, arguments.get(gpus.REPLICAS, "1"))
    return (list(seen[1:]), [seen[0]]) if len(seen) > needed else None


def _base_and_training(run: Run, names: list[str]) -> tuple[list[str], list[str]]:
    """The stages not done yet that evaluate the base, and those up to the end of the training."""
    missing = [name for name in names if name != REPORT and not run.record.is_done(name)]
    base = [name for name in missing if name in of_base(run.config)]
    last = max((place for place, name in enumerate(missing) if STAGES[name].trains), default=-1)
    return base, [name for name in missing[: last + 1] if name not in base]


def _named(names: Sequence[str]) -> str:
    return f"GPU{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _lane(
    run: Run,
    names: list[str],
    flags: Sequence[str],
    say: Say,
    seen: Sequence[str] | None = None,
    beside: bool = False,
) -> Lane:
    """Stages one after the other, on the GPUs `seen`; what those that run `beside` others print comes at their end."""
    missing = [name for name in names if name == REPORT or not run.record.is_done(name)]
    for name in names:
        if name not in missing:
            run.check_done(name)
            say(f"{STAGES[name].title}: done already")
    prepared = None
    try:
        for name, following in pairwise([*missing, None]):
            with tempfile.TemporaryFile("w+", errors="replace") as printed, _refusal_of(run, name) as refusal:
                if not (prepared and _wake(prepared)):
                    prepared = _start(_command(run, name, flags), run, seen, printed if beside else None, refusal)
                process, prepared = prepared, None
                if following and not beside and not _launcher(run, following):
                    prepared = _start(_command(run, following, [*flags, WAITS]), run, seen, None)
                yield process
                _print_notes(printed)
                if refusal and (line := refusal.read()):
                    raise UserError(line)
            if process.returncode:
                return _refused(run, name, process.returncode)
            if not run.record.is_done(name):
                title = STAGES[name].title
                raise UserError(f"stage '{title}' ended before it was done: the same command continues from there")
        return 0
    finally:
        if prepared:
            with prepared:
                prepared.kill()


@contextmanager
def _refusal_of(run: Run, name: str) -> Iterator[IO[str] | None]:
    """A file for the line that refuses a stage, if a launcher starts it."""
    if not _launcher(run, name):
        yield None
        return
    with tempfile.NamedTemporaryFile("r+", encoding="utf-8") as file:
        yield file


def _wake(process: subprocess.Popen) -> bool:
    """Tell a prepared stage to begin; False if its process is gone."""
    try:
        with process.stdin:
            process.stdin.write(b"\n")
    except BrokenPipeError:
        return False
    return True


def _refused(run: Run, name: str, code: int) -> int:
    """The exit code of a stage that has printed why it failed. Raises UserError for one that could not."""
    if code < 0:
        raise UserError(f"stage '{STAGES[name].title}' {ending(code)}: the same command continues from what is done")
    if launcher := _launcher(run, name):
        raise UserError(f"{launcher[0]} ended with exit code {code}: its messages are above")
    return code


def _finish(*lanes: Lane) -> int:
    """Run lanes side by side to their ends; where one fails the others still finish. The first exit code that is not 0.

    Raises the first lane's UserError.
    """
    ends: list[int | UserError] = []
    running: dict[Lane, subprocess.Popen] = {}
    waiting = list(lanes)
    try:
        while waiting or running:
            for lane in waiting:
                try:
                    running[lane] = next(lane)
                except StopIteration as end:
                    ends.append(end.value)
                except UserError as error:
                    ends.append(error)
            waiting = [lane for lane, process in running.items() if process.poll() is not None]
            for lane in waiting:
                del running[lane]
            if running and not waiting:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        _stop(list(running.values()))
        raise
    finally:
        for lane in lanes:
            lane.close()
    if error := next((end for end in ends if isinstance(end, UserError)), None):
        raise error
    return next((end for end in ends if end), 0)


def _launcher(run: Run, name: str) -> list[str]:
    return launcher_of(run.config) if STAGES[name].trains else []


def launcher_of(config: Configuration) -> list[str]:
    """The words that start the training's processes; none without a launcher. Raises UserError if they cannot."""
    try:
        words = shlex.split(config.launcher)
    except ValueError as error:
        raise UserError(f"launcher = {config.launcher}: {error}: fix its quotes") from error
    if words and shutil.which(words[0], path=_path()) is None:
        raise UserError(f"launcher = {words[0]}: no such program: install it, or leave launcher out")
    return words


def _path() -> str:
    """The folders to look for programs in: a launcher comes with torch or accelerate, beside this Python."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _command(run: Run, name: str, flags: Sequence[str]) -> list[str]:
    return [*(_launcher(run, name) or [sys.executable]), "-m", "harness.cli.stage", name, str(run.path), *flags]


def _start(
    command: list[str],
    run: Run,
    seen: Sequence[str] | None,
    output: IO[str] | None,
    refusal: IO[str] | None = None,
) -> subprocess.Popen:
    """Start a stage's process; one that WAITS begins when `_wake` tells it."""
    environment = os.environ | OWN_SETTINGS | {"PATH": _path()}
    if refusal:
        environment[REFUSAL] = refusal.name
    if seen is not None:
        lent = set(gpus.of_this_machine()[0]) - set(seen)
        environment |= {gpus.VARIABLE: ",".join(seen), gpus.LENT: str(len(lent))}
    # The stage inherits the folder's locks: should we be killed, the folder stays locked until it ends too.
    locks = [each.lock_file.fileno() for each in (run, run.parent) if each]
    return start(
        command,
        pass_fds=locks,
        env=environment,
        stdin=subprocess.PIPE if WAITS in command else None,
        stdout=output,
        stderr=output,
    )


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """End stages: Ctrl-C has reached them already, another signal has not; they ignore a second one."""
    until = time.monotonic() + STAGE_ENDS_WITHIN
    for process in processes:
        process.terminate()
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
        process.kill()
        process.wait()


def _print_notes(printed: IO[str]) -> None:
    """Print what a stage has printed, without the lines of its progress."""
    printed.seek(0)
    for line in printed:
        if not PROGRESS_LINE.fullmatch(line.rstrip()):
            print(line, end="", file=sys.stderr, flush=True)
