"""The lock of a run folder, so that one command at a time writes into it."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary

from harness.errors import UserError
from harness.storage.files import lives

# The locks of this process, by device and inode: its next command on the same folder shares the lock.
_HELD: WeakValueDictionary[tuple[int, int], IO] = WeakValueDictionary()
# Within these seconds the stage of a killed command ends.
ORPHAN_SECONDS = 10.0
LONGEST_NUMBER = 32


def hold(folder: Path) -> IO:
    """Lock a folder as long as the returned file is open, here or in a stage. A dead process's lock does not count.

    Raises UserError if another process has the lock, or if the file system has no locks, and FileNotFoundError if there
    is no folder.
    """
    until = time.monotonic() + ORPHAN_SECONDS
    while True:
        file = (folder / ".lock").open("a+", errors="replace")
        state = os.fstat(file.fileno())
        if own := _HELD.get((state.st_dev, state.st_ino)):
            file.close()
            return own
        _wait_until_free(file, folder, until)
        if _is_of(file, folder):
            break
        file.close()
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    _HELD[state.st_dev, state.st_ino] = file
    return file


def _wait_until_free(file: IO, folder: Path, until: float) -> None:
    while not _is_free(file):
        owner = _owner(file)
        if owner is None or lives(owner) or time.monotonic() > until:
            who = f"process {owner}" if owner else "another process"
            raise UserError(f"{folder}: {who} is using it: {_fix()}")
        time.sleep(0.1)


def _fix() -> str:
    if os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return "srun starts the command several times: leave srun out, and it uses all machines of the job's script"
    return "wait, or give another --output"


def _is_of(file: IO, folder: Path) -> bool:
    """Whether a lock is still the folder's; another process may have renamed or removed the folder meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), (folder / ".lock").stat())
    return False


def _is_free(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{file.name}: this file system does not support locks ({error.strerror}): give another --output"
        ) from error
    return True


def _owner(file: IO) -> int | None:
    """The number of the process that has the lock; None if the file does not say it."""
    file.seek(0)
    text = file.read(LONGEST_NUMBER).strip()
    return int(text) if text.isdecimal() else None
