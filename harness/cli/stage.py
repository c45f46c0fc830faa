"""What a stage's process runs: python -P -m harness.cli.stage STAGE RUN [--quiet]."""

import sys
from pathlib import Path

from harness.cli import exit_code_of, leave
from harness.cli.rooms import run_stage
from harness.store import Run


def main(arguments: list[str]) -> int:
    stage, folder, *flags = arguments
    return exit_code_of(lambda: run_stage(Run.open(Path(folder)), stage, quiet="--quiet" in flags))


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
