"""The page of all runs below a folder, as plain values."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from reports.history import History, histories
from reports.run_index import COLUMNS, Entry, Unreadable

# The first line of every such page, by which it is known as ours.
MARKER = "<!-- harness view -->"
TEMPLATES = resources.files("reports") / "templates"
SCRIPT = "\n".join((TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in ("texts", "runs"))


@dataclass(frozen=True)
class IndexView:
    """Everything that the page shows: the runs, the newest first, those that cannot be read, and plots over time."""

    folder: str
    made: datetime
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...]
    histories: dict[tuple[str, str], tuple[History, ...]]


def build(folder: Path, found: Iterable[Entry | Unreadable]) -> IndexView:
    """The view of what was found below a folder."""
    entries, unreadable = [], []
    for each in found:
        (entries if isinstance(each, Entry) else unreadable).append(each)
    entries.sort(key=lambda entry: entry.when, reverse=True)
    return IndexView(str(folder), datetime.now(UTC), COLUMNS, tuple(entries), tuple(unreadable), histories(entries))
