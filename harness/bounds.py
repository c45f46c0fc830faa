"""A bound on the time and the memory of work that somebody else's file decides: a chat template, an expression."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS, GIB = 10, 2
AGAIN = 0.5
_STATE = Path("/proc/self/statm")
_DATA = 5  # its place in that file, in pages


@contextmanager
def bounded() -> Iterator[None]:
    """Raise TimeoutError if the block takes longer than SECONDS, MemoryError if it takes GIB more than there was.

    Interrupts what Python runs and expressions of `re`. Time is bounded in the main thread alone, memory on Linux.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"takes longer than {SECONDS} s")

    is_main = threading.current_thread() is threading.main_thread()
    limits = _limit_memory()
    earlier = signal.signal(signal.SIGALRM, stop) if is_main else None
    try:
        if is_main:
            # Again and again: Python swallows an exception that comes while it frees an object.
            signal.setitimer(signal.ITIMER_REAL, SECONDS, AGAIN)
        yield
    except MemoryError as error:
        raise MemoryError(f"takes over {GIB} GiB of memory") from error
    finally:
        if is_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
        resource.setrlimit(resource.RLIMIT_DATA, limits)


def _limit_memory() -> tuple[int, int]:
    """Lower the limit of this process's data to what it has now and GIB; returns the limits before."""
    soft, hard = limits = resource.getrlimit(resource.RLIMIT_DATA)
    if _STATE.exists():
        wanted = int(_STATE.read_text().split()[_DATA]) * resource.getpagesize() + (GIB << 30)
        finite = [each for each in (wanted, soft, hard) if each != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(finite), hard))
    return limits
