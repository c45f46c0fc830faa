"""How much memory is free, and files that do not fit into it, refused by name instead of ending the process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UserError

# Read without asking how much is free.
SMALL = 64 * 2**20
# The limit of the container: control groups of the second and of the first version.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@contextmanager
def fits_memory(path: Path) -> Iterator[None]:
    """Read a whole file in the body.

    Raises UserError with its size if it is larger than the free memory, or if the body runs out of memory.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > SMALL and size > free_bytes():
        raise _too_large(path, size)
    try:
        yield
    except MemoryError as error:
        raise _too_large(path, size) from error


def read_text(path: Path, encoding: str) -> str:
    """A whole text file. Raises UserError if it does not fit into the free memory."""
    with fits_memory(path):
        return path.read_text(encoding=encoding)


def free_bytes() -> int:
    """The bytes of memory that this machine, or the container, can still give; all of them where that is not known."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in LIMITS:
        with suppress(OSError, ValueError):
            limits.append(int(Path(file).read_text()))
    with suppress(OSError, LookupError, ValueError):
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(rows["MemAvailable"].split()[0]) * 1024)
    return min(limits)


def _too_large(path: Path, size: int) -> UserError:
    free = free_bytes() / 2**30
    return UserError(
        f"{path}: its {size / 2**30:,.1f} GiB do not fit into the free memory of {free:,.1f} GiB: give a smaller file"
    )
