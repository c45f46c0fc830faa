"""How processes of ours are started, how they end with the one that started them, and how their end is named."""

import ctypes
import signal
import sys
from collections.abc import Callable

SET_SIGNAL_OF_PARENTS_DEATH = 1  # prctl(2)
# A folder of the user's that is called train or reports must not be imported instead of ours.
OWN_SETTINGS = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore"}
# A stage's flags; the language of the page follows LANG. One that waits imports its libraries and begins at a line on
# its standard input.
QUIET, WAITS, LANG = "--quiet", "--waits", "--lang="


def ends_with_us() -> Callable[[], object] | None:
    """What a new process does first, so that Linux tells it to stop when we are killed."""
    if sys.platform != "linux":
        return None
    # Looked up before the fork, which is no place to load a library.
    control = ctypes.CDLL(None).prctl
    return lambda: control(SET_SIGNAL_OF_PARENTS_DEATH, signal.SIGTERM)


def ending(code: int) -> str:
    """How a process ended, by its exit code; SIGKILL is most often the system's, for want of memory."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
