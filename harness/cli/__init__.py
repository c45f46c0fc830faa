"""The command line: the roof over every room. Each command imports what it needs when it is called."""

import atexit
import errno
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, TextIO

from harness.console.markdown import one_line
from harness.errors import UserError, redacted

LIBRARY_SETTINGS = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    # OpenMP threads that spin while they wait make a busy two-core machine many times slower.
    "GOMP_SPINCOUNT": "2000",
    # Nobody is told that they are used, and no pickle on the hub is sent off to be made into safetensors.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "WANDB_ERROR_REPORTING": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
INTERRUPTED = 130
STOP_SECONDS = 4.5
DISK_ERRORS = (
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR,
    errno.EEXIST, errno.ENAMETOOLONG,
)  # fmt: skip


def main() -> None:
    """The `harness` command."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    # Whoever closes our output does not want it.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, open as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    # A terminal that cannot show a letter shows a question mark.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    from harness.cli.app import app

    sys.excepthook = show_bug
    stop_in_order(STOP_SECONDS)
    leave(exit_code_of(lambda: app(standalone_mode=False)))


def stop_in_order(seconds: float) -> None:
    """From now on SIGTERM stops this process as Ctrl-C does, and either within so many seconds.

    What is journalled is safe at any moment, so a library that does not let go is left without further ado.
    """

    def stop(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        last = threading.Timer(seconds, os._exit, (INTERRUPTED,))
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def exit_code_of(command: Callable[[], int | None], is_stage: bool = False) -> int:
    """Run a command: 0 or its own code; a user's mistake is one line and 2; our bug is a traceback and 1.

    A stage leaves it to the command that has started it to say that it was stopped.
    """
    from typer import Abort, TyperException

    try:
        code = command() or 0
        sys.stdout.flush()
    except UserError as error:
        return _refuse(str(error))
    except TyperException as error:
        return _refuse(f"{error.format_message().rstrip('.')}: see harness --help")
    except (KeyboardInterrupt, Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough, and with it the end of a command that shows something; one whose
        # progress nobody reads any more has not come to its end.
        unfinished = is_stage or _has_no_reader(sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            # Python must not complain about it once more at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return INTERRUPTED if unfinished else 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return _refuse(f"{error.filename or 'output'}: {error.strerror}: make room or choose another --output")
    if code == INTERRUPTED and not is_stage:
        with suppress(BrokenPipeError):
            print("harness: stopped; the same command goes on from what is done", file=sys.stderr, flush=True)
    return code


def _has_no_reader(stream: TextIO) -> bool:
    """Whether a pipe's other end is closed."""
    watched = select.poll()
    watched.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback as Python prints it, without secrets and without what a terminal would obey."""
    said = redacted("".join(traceback.format_exception(kind, error, trace)))
    print(*(one_line(line) for line in said.splitlines()), sep="\n", file=sys.stderr)


def leave(code: int) -> NoReturn:
    """End the process in order, but for the interpreter's own end: a library's thread that is still at work then can
    crash it (vLLM's do), and a finished command must not look like a crash."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def _refuse(message: str) -> int:
    print(f"harness: {one_line(' '.join(redacted(message).split()))}", file=sys.stderr)
    return 2
