"""Trackers that follow a training when asked for; none does by itself."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from harness.config import Configuration
from harness.errors import UserError

PROJECT = "harness"


@contextmanager
def tracked(config: Configuration, folder: Path) -> Iterator[list[str]]:
    """The names that the trainer reports to, with their run open; SwanLab is offline unless SWANLAB_MODE says else."""
    if config.tracker == "none":
        yield []
        return
    try:
        import swanlab
    except ModuleNotFoundError as error:
        raise UserError("tracker = swanlab needs swanlab: pip install 'harness[swanlab]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    with redirect_stdout(sys.stderr):
        swanlab.init(
            project=PROJECT,
            name=config.folder_name,
            mode=os.environ.get("SWANLAB_MODE", "offline"),
            log_dir=str(folder),
            config=config.model_dump(mode="json"),
        )
        try:
            yield ["swanlab"]
        finally:
            swanlab.finish()
