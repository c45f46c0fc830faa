"""Check an export, write it, describe it; its folder is whole or not there at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import UserError
from harness.models import adapters, checkpoint_checks, checkpoints, quantized
from harness.storage.files import temporary_of, write_json, write_text
from harness.storage.links import real_path, refuse_leaving
from harness.version import __version__
from train.export import TARGETS, Export, llama_cpp, measured

RECORD, CARD = "export.json", "README.md"


def check(export: Export, folder: Path) -> None:
    """Check all that can be checked before a model is loaded. Raises UserError for the first mistake."""
    _refuse_folder(folder)
    if export.to == "gguf":
        llama_cpp.find(export.quants)
    if export.to == "merged-4bit" and find_spec("bitsandbytes") is None:
        raise UserError("--to merged-4bit needs bitsandbytes: pip install bitsandbytes")
    checkpoint_checks.check(export.checkpoint, export.chat_template, export.trust, export.switches)
    adapters.check(export.adapter, export.checkpoint, beside_base=False)
    checkpoint_checks.check_hub(export.checkpoint, export.trust)
    if export.to != "lora" and quantized.is_quantized(checkpoints.model_config(export.checkpoint)):
        raise UserError(
            f"{export.checkpoint}: its weights are quantized, and a merge would round them once more: give the "
            "16-bit checkpoint as --model, or --to lora"
        )


def write(export: Export, folder: Path, quiet: bool) -> dict[str, Any]:
    """Write the export with its model card and its record; returns the record, `files` in bytes by name."""
    from train import lora
    from train.export.card import model_card

    lora.check_trained(Path(export.adapter))
    with whole_folder(folder) as part:
        facts = registry.load("export", export.to, TARGETS)(export, part, quiet)
        write_text(part / CARD, model_card(export, facts))
        record = {"harness": __version__, **_order(export), **facts, "files": _sizes(part)}
        write_json(part / RECORD, record)
    return record


def finished(export: Export, folder: Path) -> dict[str, Any] | None:
    """The record of this very export if it is in the folder already, its files of the size that was written.

    Raises UserError if a link leads out of the folder, which may be somebody else's.
    """
    refuse_leaving(folder)
    record = _record_in(folder)
    if record is None:
        return None
    is_this = all(record.get(key) == value for key, value in _order(export).items())
    # A kill may come between the card with what was measured and the record.
    weights = record["files"].keys() - {CARD}
    sizes = _sizes(folder)
    return record if is_this and all(record["files"][name] == sizes.get(name) for name in weights) else None


def _record_in(folder: Path) -> dict[str, Any] | None:
    """An export's record, if the folder has one."""
    record = checkpoints.read_json(folder / RECORD)
    is_one = isinstance(record, dict) and isinstance(record.get("files"), dict) and {"harness", "to"} <= record.keys()
    return record if is_one else None


def describe(export: Export, folder: Path, record: dict[str, Any], found: measured.Measured) -> dict[str, Any]:
    """Write the card again with what was measured of the files, and the record, which is returned."""
    from train.export.card import FACTS, model_card

    facts = {key: record[key] for key in FACTS if key in record}
    write_text(folder / CARD, model_card(export, facts, found))
    record = record | {"files": record["files"] | {CARD: (folder / CARD).stat().st_size}}
    write_json(folder / RECORD, record)
    return record


def _order(export: Export) -> dict[str, Any]:
    """What tells one export from another."""
    return {
        "to": export.to,
        "quants": list(export.quants),
        "base": export.base,
        "adapter": checkpoints.weight_hashes(export.adapter),
    }


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling that replaces the folder, and an older export, once the body is through."""
    folder = real_path(folder)
    part = temporary_of(folder)
    try:
        part.mkdir(parents=True)
        yield part
        _refuse_folder(folder)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except Exception as error:
        # The libraries that write weights and tokenizers each raise an exception of their own.
        if isinstance(error, UserError) or os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise UserError(f"{folder.parent}: no space left: make room or choose another --output") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_folder(folder: Path) -> None:
    """Raises UserError if a folder has anything but an earlier export, as its own record lists it."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: not a folder: give another --output")
    record = _record_in(folder)
    ours = {RECORD, *record["files"]} if record else set()
    others = sorted({file.name for file in folder.iterdir()} - ours) if folder.is_dir() else []
    if others == [measured.FOLDER]:
        raise UserError(
            f"--output {folder}: has the measurement of the files that are there: move the folder away, or give "
            "another --output"
        )
    if others:
        raise UserError(f"--output {folder}: {others[0]} there is not an export's: give another --output")
