"""The command line. Each command imports what it needs when it is called."""

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
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TextIO

from harness.console.markdown import log_line
from harness.errors import UserError, redacted
from harness.processes import REFUSAL, STOPS

LIBRARY_SETTINGS = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    # OpenMP threads that spin while they wait make a busy two-core machine many times slower.
    "GOMP_SPINCOUNT": "2000",
    # No telemetry, and no pickle on the hub is sent away to be converted to safetensors.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
INTERRUPTED = 130
STOP_SECONDS = 4.5
MOMENT = 0.01
DISK_ERRORS = (
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR,
    errno.EEXIST, errno.ENAMETOOLONG, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENXIO,
)  # fmt: skip


def main() -> NoReturn:
    """The `harness` command."""
    sys.excepthook = show_bug
    # Output that is closed is not wanted, and nobody types into an input that is.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, open as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    # A terminal that cannot show a letter shows a question mark.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    end_with(_command_line, STOP_SECONDS)


def _command_line() -> int | None:
    if sys.platform == "win32":
        # Locks, signals and pipes are POSIX's here.
        raise UserError("Windows itself is not supported: install and run it inside WSL")
    set_libraries()
    from harness.cli.app import app

    return app(standalone_mode=False)


def set_libraries() -> None:
    """Set LIBRARY_SETTINGS before any library is imported; what the user has set stays."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)


def end_with(command: Callable[[], int | None], stop_seconds: float, is_stage: bool = False) -> NoReturn:
    """Run a command as this process, which then ends with its exit code.

    SIGINT and SIGTERM stop it within `stop_seconds`, whatever it is doing. A stage that was stopped prints nothing: the
    command that started it does.
    """
    try:
        _stop_in_order(stop_seconds)
        leave(exit_code_of(lambda: _unless_stopped(command), is_stage))
    except KeyboardInterrupt:
        if not is_stage:
            with suppress(BrokenPipeError):
                print("harness: stopped; the same command continues from what is done", file=sys.stderr, flush=True)
        leave(INTERRUPTED)


def _stop_in_order(seconds: float) -> None:
    """Make SIGTERM stop this process as Ctrl-C does, either of them within so many seconds.

    What is finished is on the disk within a quarter second, so a library that does not stop in time is not waited for.
    """

    def stop(number: int, frame: object) -> None:
        for each in STOPS:
            signal.signal(each, _stops_already)
        last = threading.Timer(seconds, os._exit, (INTERRUPTED,))
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    def stop_again(swallowed: "sys.UnraisableHookArgs") -> None:
        # What is raised in a __del__ or a callback Python would print, and go on.
        if swallowed.exc_type is KeyboardInterrupt:
            signal.signal(signal.SIGINT, stop)
            threading.Timer(MOMENT, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        else:
            sys.__unraisablehook__(swallowed)

    for number in STOPS:
        signal.signal(number, stop)
    sys.unraisablehook = stop_again


def _stops_already(number: int, frame: object) -> None:
    """What a further signal does. Not SIG_IGN: Python prints an error for one that has come but is not handled yet."""


def _unless_stopped(command: Callable[[], int | None]) -> int | None:
    """Run a command. Raises KeyboardInterrupt for whatever it raises once it was told to stop.

    Libraries make other errors of a KeyboardInterrupt: safetensors says that a file cannot be read.
    """
    try:
        return command()
    except Exception:
        if signal.getsignal(signal.SIGTERM) is _stops_already:
            raise KeyboardInterrupt from None
        raise


def exit_code_of(command: Callable[[], int | None], is_stage: bool = False) -> int:
    """Run a command: 0 or its own code; a user's mistake is one line and 2; our bug is a traceback and 1.

    Raises KeyboardInterrupt if it was stopped.
    """
    from typer import Abort, TyperException

    try:
        code = command() or 0
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer's for Ctrl-C, and that of a stage that was stopped
            raise KeyboardInterrupt
    except UserError as error:
        return _refuse(str(error))
    except TyperException as error:
        from harness.cli.wrong_usage import line_of

        return _refuse(line_of(error))
    except Abort:  # no answer to a question
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        # The reader of our output has seen enough: the end of a command that shows something. A command whose progress
        # is not read any more has not finished.
        unfinished = is_stage or _has_no_reader(sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            # Python must not report it once more at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return INTERRUPTED if unfinished else 0
    except MemoryError as error:
        return _refuse(f"not enough memory ({error or 'Python has none left'}): free some, or give less data")
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return _refuse(f"{error.filename or 'output'}: {error.strerror}: make room or choose another --output")
    return code


def _has_no_reader(stream: TextIO) -> bool:
    """Whether a pipe's other end is closed."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as Python does, without secrets and without control characters."""
    text = redacted("".join(traceback.format_exception(kind, error, trace)))
    print(*(log_line(line) for line in text.splitlines()), sep="\n", file=sys.stderr)


def leave(code: int) -> NoReturn:
    """End the process in order, but for the interpreter's own end.

    A library's thread that works on then can crash it (vLLM's do), and a finished command must not look like one. Nor
    must one that is stopped now, which ends at once.
    """
    _flush()
    for number in STOPS:
        if signal.getsignal(number) is not _stops_already:
            signal.signal(number, lambda *_: os._exit(code))
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


def _refuse(message: str) -> int:
    line = log_line(" ".join(redacted(message).split()))
    print(f"harness: {line}", file=sys.stderr)
    if kept := os.environ.get(REFUSAL):
        with suppress(OSError):  # the disk may be what is full
            Path(kept).write_text(line, encoding="utf-8")
    return 2
