"""What a stage's process runs: python -P -m harness.cli.stage STAGE RUN [--quiet] [--lang=LANGUAGE]."""

import sys
from pathlib import Path

from harness.cli import exit_code_of, leave, show_bug, stop_in_order
from harness.cli.stage_functions import run_stage
from harness.storage.run_folder import Run
from reports.texts import ENGLISH, using

STAGE_SECONDS, LANG = 3.0, "--lang="


def main(arguments: list[str]) -> int:
    stage, folder, *flags = arguments
    sys.excepthook = show_bug
    stop_in_order(STAGE_SECONDS)
    language = next((flag.removeprefix(LANG) for flag in flags if flag.startswith(LANG)), ENGLISH)
    with using(language):
        return exit_code_of(lambda: run_stage(Run.open(Path(folder)), stage, quiet="--quiet" in flags), is_stage=True)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
