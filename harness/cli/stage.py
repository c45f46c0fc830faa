"""What a stage's process runs: python -P -m harness.cli.stage STAGE RUN [--quiet] [--lang=LANGUAGE] [--waits]."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from harness.cli import INTERRUPTED, end_with, leave, set_libraries, show_bug
from harness.cli.stage_functions import import_libraries, run_stage
from harness.console import progress
from harness.processes import LANG, QUIET, WAITS, end_with_launcher
from harness.registry import importing
from harness.storage.run_folder import Run
from reports.texts import ENGLISH, using

STAGE_SECONDS = 3.0


def main(arguments: list[str]) -> NoReturn:
    stage, folder, *flags = arguments
    sys.excepthook = show_bug
    end_with_launcher()
    set_libraries()
    if WAITS in flags and not _told_to_begin(Path(folder), stage):
        leave(INTERRUPTED)
    language = next((flag.removeprefix(LANG) for flag in flags if flag.startswith(LANG)), ENGLISH)

    def command() -> None:
        with using(language):
            run_stage(Run.open(Path(folder)), stage, quiet=QUIET in flags)

    end_with(command, STAGE_SECONDS, is_stage=True)


def _told_to_begin(folder: Path, stage: str) -> bool:
    """Import the stage's libraries, and wait until it may begin; False if it never may.

    What cannot be imported is said by the stage itself, when it is its turn.
    """
    with progress.libraries_into(Path(os.devnull)), suppress(Exception), importing():
        import_libraries(Run.open(folder).config, stage)
    return bool(sys.stdin.readline())


if __name__ == "__main__":
    main(sys.argv[1:])
