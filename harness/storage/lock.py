"""One run folder, one command: a lock that names its owner."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary

from harness.errors import UserError

# What this process holds, by device and inode: its next command on the same folder is no other's.
_HELD: WeakValueDictionary[tuple[int, int], IO] = WeakValueDictionary()
# A killed owner's stage ends within these seconds.
ORPHAN_SECONDS = 10.0


def hold(folder: Path) -> IO:
    """The folder's lock, held as long as the file is open here or in a stage; a UserError where another has it.

    The system lets go of a lock whose processes have ended, so one left behind is taken over.
    """
    file, until = (folder / ".lock").open("a+"), time.monotonic() + ORPHAN_SECONDS
    state = os.fstat(file.fileno())
    if held := _HELD.get((state.st_dev, state.st_ino)):
        file.close()
        return held
    while not _is_free(file):
        owner = _owner(file)
        if _lives(owner) or time.monotonic() > until:
            who = f"process {owner}" if owner else "another process"
            raise UserError(f"{folder}: {who} is at work in it: wait, or give another --output")
        time.sleep(0.1)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    _HELD[state.st_dev, state.st_ino] = file
    return file


def _is_free(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{file.name}: this file system keeps no locks ({error.strerror}): give another --output"
        ) from error
    return True


def _owner(file: IO) -> int | None:
    """The process that holds a lock, as far as the file says it."""
    file.seek(0)
    text = file.read().strip()
    return int(text) if text.isdecimal() else None


def _lives(process: int | None) -> bool:
    try:
        os.kill(process or os.getpid(), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
