"""Exports of the embedded model with an adapter, for the tests of what they write."""

from dataclasses import replace
from pathlib import Path

from train.export import Export, write


def order(adapter: Path, to: str, **changes) -> Export:
    return replace(Export("tiny", "embedded", str(adapter), to, (), None, ""), **changes)


def export(wanted: Export, folder: Path) -> Path:
    write.check(wanted, folder)
    write.write(wanted, folder, quiet=True)
    return folder
