"""The JSON files of these scripts: each keeps all cases that were measured, by name."""

from pathlib import Path
from typing import Any

from harness.storage.files import read_json, write_json


def keep(out: Path, name: str, case: dict[str, Any]) -> None:
    """Write a case to `out`, beside the others that it holds."""
    write_json(out, (read_json(out) if out.exists() else {}) | {name: case})
