"""How much memory is free, and files that do not fit into it, refused by name instead of ending the process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UserError

# Read without asking how much is free.
SMALL = 64 * 2**20
# Of a container: its limit, what it uses, and where it says how much of that are files; control groups of the second
# and of the first version.
GROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
GROUPS_FOLDER = Path("/sys/fs/cgroup")


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


def all_bytes() -> int:
    """The bytes of memory of this machine, or as many as the container may take of them."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(limit for limit, _ in _groups())])


def free_bytes() -> int:
    """The bytes of memory that this machine, or the container, can still give; all of them where that is not known."""
    free = [all_bytes(), *(limit - used for limit, used in _groups())]
    with suppress(OSError, LookupError, ValueError):
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int(rows["MemAvailable"].split()[0]) * 1024)
    return max(0, min(free))


def _groups() -> Iterator[tuple[int, int]]:
    """The limit of each control group that has one, and the bytes that it uses, without files that it can let go."""
    for limit, used, details in GROUPS:
        with suppress(OSError, LookupError, ValueError):
            rows = dict(line.split() for line in (GROUPS_FOLDER / details).read_text().splitlines())
            files = int(rows.get("total_inactive_file", rows["inactive_file"]))
            yield int((GROUPS_FOLDER / limit).read_text()), int((GROUPS_FOLDER / used).read_text()) - files


def _too_large(path: Path, size: int) -> UserError:
    free = free_bytes() / 2**30
    return UserError(
        f"{path}: its {size / 2**30:,.1f} GiB do not fit into the free memory of {free:,.1f} GiB: give a smaller file"
    )
