"""before -> train -> after -> report, each stage a process of its own that speaks through the run folder."""

import signal
import subprocess
import sys
from collections.abc import Callable

from harness.config import Configuration
from harness.errors import UserError
from harness.store import BOTH, Run

REPORT = "report"


def stages(config: Configuration, before_after: bool) -> list[str]:
    """The stages of a run in order: with an adapter nothing is trained, and one engine draws both sides."""
    if config.adapter:
        return [BOTH, REPORT]
    return ["before", "train", "after", REPORT] if before_after else ["before", REPORT]


def run_stages(run: Run, names: list[str], quiet: bool, say: Callable[[str], None]) -> int:
    """Run what is not done yet; 0, or the exit code of the stage that failed (it has said why)."""
    for name in names:
        if name != REPORT and run.is_done(name):
            say(f"{name}: done already")
            continue
        # -P: a folder of the user's that is called train or reports must not be imported instead of ours.
        command = [sys.executable, "-P", "-W", "ignore", "-m", "harness.cli.stage", name, str(run.path)]
        command += ["--quiet"] if quiet else []
        # The stage inherits the folder's lock: should we be killed, the folder stays locked until it ends too.
        code = subprocess.run(command, check=False, pass_fds=[run.lock_file.fileno()]).returncode
        if code < 0:
            cause = signal.Signals(-code).name
            raise UserError(f"stage '{name}' was ended by {cause}: the same command goes on from what is done")
        if code:
            return code
    return 0
