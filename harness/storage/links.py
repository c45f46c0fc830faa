"""A folder that somebody else made may hold links: one that leaves it is refused before anything is read or written."""

import os
import stat
from pathlib import Path

from harness.errors import UserError

# wandb links to its own log below ~/.cache; nothing of ours reads or writes it.
LINK_OF_WANDB = ("tracker", "debug-core.log")


def refuse_leaving(folder: Path) -> None:
    """Raises UserError if anything in a folder is a link out of it or to nothing, or neither a file nor a folder.

    The folder itself may lie behind a link, and links inside it may lead to one another.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if (path.relative_to(folder).parts[0], name) != LINK_OF_WANDB:
                _refuse(path, folder)


def make_folder(output: Path) -> None:
    """Make the folder that a command writes to. Raises UserError if it cannot be made, or if a link leads out of it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror}: give another folder") from error
    refuse_leaving(output)


def real_path(path: str | Path) -> Path:
    """An absolute path with all links followed; where they lead in a circle, the path of one of those links.

    Path.resolve raises a RuntimeError there before Python 3.13, which nobody expects of a file that cannot be read.
    """
    return Path(os.path.realpath(path))


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder when all links are followed."""
    return real_path(path).is_relative_to(real_path(folder))


def _refuse(path: Path, folder: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:  # another process has just renamed it
        return
    if stat.S_ISLNK(mode):
        if not is_inside(path, folder) or not path.exists():
            raise UserError(f"{path}: a link out of the folder or to nothing: put the file itself there, or remove it")
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(f"{path}: neither a file nor a folder: remove it, or give another folder")
