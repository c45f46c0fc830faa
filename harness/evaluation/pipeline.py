"""Run the stages of stages.py in order, each in a process of its own that reads and writes the run folder."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.config import Configuration
from harness.errors import UserError
from harness.processes import ending, ends_with_us
from harness.stages import REPORT, STAGES
from harness.storage.run_folder import Run

STAGE_ENDS_WITHIN = 4.0


def run_stages(run: Run, names: list[str], quiet: bool, say: Callable[[str], None]) -> int:
    """Run the stages that are not done yet; 0, or the exit code of the one that failed, which has printed why."""
    for name in names:
        stage = STAGES[name]
        if name != REPORT and run.record.is_done(name):
            say(f"{stage.title}: done already")
            continue
        launcher = launcher_of(run.config) if stage.trains else []
        command = [*(launcher or [sys.executable]), "-m", "harness.cli.stage", name, str(run.path)]
        command += ["--quiet"] if quiet else []
        code = _run(command, run)
        if code < 0:
            raise UserError(f"stage '{stage.title}' {ending(code)}: the same command continues from what is done")
        if code and launcher:
            raise UserError(f"{launcher[0]} ended with exit code {code}: its messages are above")
        if code:
            return code
        if not run.record.is_done(name):
            raise UserError(f"stage '{stage.title}' ended before it was done: the same command continues from there")
    return 0


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


def _run(command: list[str], run: Run) -> int:
    # A folder of the user's that is called train or reports must not be imported instead of ours.
    environment = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore"}
    environment["PATH"] = _path()
    # The stage inherits the folder's locks: should we be killed, the folder stays locked until it ends too.
    locks = [each.lock_file.fileno() for each in (run, run.parent) if each]
    with subprocess.Popen(command, pass_fds=locks, env=environment, preexec_fn=ends_with_us()) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # Ctrl-C has reached the stage already, another signal has not; it ignores a second one.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STAGE_ENDS_WITHIN)
            process.kill()
            raise
