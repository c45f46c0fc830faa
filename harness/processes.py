"""How processes of ours are started, how they end with the one that started them, and how their end is named."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
SET_SIGNAL_OF_PARENTS_DEATH = 1  # prctl(2)
# A folder of the user's that is called train or reports must not be imported instead of ours.
OWN_SETTINGS = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore"}
# A stage's flags; the language of the page follows LANG. One that waits imports its libraries and begins at a line on
# its standard input.
QUIET, WAITS, LANG = "--quiet", "--waits", "--lang="
# Names the file for the line that refuses a stage, which a launcher's own traceback would hide.
REFUSAL = "HARNESS_REFUSAL"


def start(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process that `ends_with_us`, with options of Popen."""
    with stops_held():
        return subprocess.Popen(command, preexec_fn=ends_with_us(), **options)


@contextmanager
def stops_held() -> Iterator[None]:
    """Let STOPS wait during a fork: what they raise is lost in what Python does around one.

    The new process inherits this, and lets them in when it can take them.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def ends_with_us() -> Callable[[], object]:
    """What a new process does first: it leaves Ctrl-C, which reaches every process of a terminal, to us, who tell it
    to stop; and Linux tells it so too when we are killed.
    """
    # Looked up before the fork, which is no place to load a library.
    control = _process_control()

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        control(SET_SIGNAL_OF_PARENTS_DEATH, signal.SIGTERM)

    return begin


def end_with_launcher() -> None:
    """Let Linux kill this process when the launcher that started it has ended, if one did.

    A process that waits for others on a GPU takes no other signal, and would keep the GPU.
    """
    if "WORLD_SIZE" in os.environ:
        _process_control()(SET_SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)


def _process_control() -> Callable[[int, int], object]:
    """prctl(2); what does nothing where there is none."""
    import ctypes

    return ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None


def ending(code: int) -> str:
    """How a process ended, by its exit code; SIGKILL is most often the system's, for want of memory."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
