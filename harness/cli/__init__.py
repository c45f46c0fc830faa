"""The command line: the roof over every room. Each command imports what it needs when it is called."""

import os
import sys
from collections.abc import Callable

from harness.errors import UserError

LIBRARY_SETTINGS = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
INTERRUPTED = 130


def main() -> None:
    """The `harness` command."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    from harness.cli.app import app

    sys.exit(exit_code_of(lambda: app(standalone_mode=False)))


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Run a command: 0 or its own code; a user's mistake is one line and 2; our bug is a traceback and 1."""
    from typer import TyperException

    try:
        return command() or 0
    except UserError as error:
        message = str(error)
    except TyperException as error:
        message = error.format_message()
    except KeyboardInterrupt:
        print("harness: stopped; the same command goes on from what is done", file=sys.stderr)
        return INTERRUPTED
    print(f"harness: {' '.join(message.split())}", file=sys.stderr)
    return 2
