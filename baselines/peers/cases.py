"""What these scripts share: the options that name a case, and the JSON file that keeps all cases, by name."""

import argparse
from pathlib import Path
from typing import Any

from harness.storage.files import read_json, write_json


def options(description: str | None, needs_data: bool = False) -> argparse.ArgumentParser:
    """The file to write, the case's name, and what is evaluated; each script adds its own options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", required=needs_data)
    return parser


def to_extend(out: Path, name: str, about: dict[str, Any]) -> dict[str, Any]:
    """The case that `out` holds, if it is about the same day, machine, versions and settings; else a new one."""
    held = _all(out).get(name, {})
    return held if held | about == held else about


def keep(out: Path, name: str, case: dict[str, Any]) -> None:
    """Write a case to `out`, beside the others that it holds."""
    write_json(out, _all(out) | {name: case})


def _all(out: Path) -> dict[str, Any]:
    return read_json(out) if out.exists() else {}
