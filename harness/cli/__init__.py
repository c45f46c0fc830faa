"""The command line: the roof over every room. Each command imports what it needs when it is called."""

import atexit
import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from harness.errors import UserError

LIBRARY_SETTINGS = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    # OpenMP threads that spin while they wait make a busy two-core machine many times slower.
    "GOMP_SPINCOUNT": "2000",
}
INTERRUPTED = 130
DISK_ERRORS = (
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR,
    errno.EEXIST, errno.ENAMETOOLONG,
)  # fmt: skip


def main() -> None:
    """The `harness` command."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    # A terminal that cannot show a letter shows a question mark.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    from harness.cli.app import app

    leave(exit_code_of(lambda: app(standalone_mode=False)))


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Run a command: 0 or its own code; a user's mistake is one line and 2; our bug is a traceback and 1."""
    from typer import TyperException

    try:
        code = command() or 0
        sys.stdout.flush()
    except UserError as error:
        return _refuse(str(error))
    except TyperException as error:
        return _refuse(f"{error.format_message().rstrip('.')}: see harness --help")
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain about it once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return _refuse(f"{error.filename or 'output'}: {error.strerror}: make room or choose another --output")
    if code == INTERRUPTED:
        print("harness: stopped; the same command goes on from what is done", file=sys.stderr)
    return code


def leave(code: int) -> NoReturn:
    """End the process in order, but for the interpreter's own end: a library's thread that is still at work then can
    crash it (vLLM's do), and a finished command must not look like a crash."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _refuse(message: str) -> int:
    print(f"harness: {' '.join(message.split())}", file=sys.stderr)
    return 2
