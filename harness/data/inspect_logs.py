"""Logs of inspect_ai, .eval (a zip of JSON) and .json: a row for each sample and epoch. Needs no inspect_ai."""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from harness.data import columns
from harness.errors import UserError, cause
from harness.types import CUT_OFF

# The first bytes of a .json log; a list of rows or a baseline file of ours starts otherwise.
JSON_HEAD = re.compile(rb'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:')
LONGEST_HEAD = 4096
# samples/ID_epoch_N.json, or samples/ID_epoch_N/sample.json beside the parts of a long sample; an id may have slashes.
SAMPLE = re.compile(r"samples/.*_epoch_\d+(/sample)?\.json", re.DOTALL)
# inspect_ai compresses with this method, which Python's own zipfile cannot read before 3.14.
ZSTANDARD = 93
LARGEST, LARGEST_TOTAL = 64 * 2**20, 4 * 2**30
LARGEST_JSON = 512 * 2**20
CUT_OFF_REASONS = ("max_tokens", "model_length")
MAKE_AGAIN = "give a whole log of inspect_ai"


def is_log(path: Path) -> bool:
    """Whether a file is called .eval, or is a .json file that starts as inspect_ai's logs do."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() == ".eval"
    try:
        with path.open("rb") as file:
            return JSON_HEAD.match(file.read(LONGEST_HEAD)) is not None
    except OSError:
        return False


def named_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """A row for each sample and epoch of a log, epoch by epoch; all epochs of a sample have its name.

    A row is {"id", "epoch", "input", "target", "completion", "finish_reason", "metadata"}. `completion` is None where
    the sample ended without a reply. Raises UserError if the log is damaged, too large or has no samples.
    """
    read = _of_zip if path.suffix.lower() == ".eval" else _of_json
    try:
        rows = {(str(row["id"]), row["epoch"]): row for row in (_row(sample, where) for where, sample in read(path))}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or cause(error, 80)}: give a log that can be read") from error
    if not rows:
        raise UserError(f"{path}: a log without samples: run the task with --log-samples, or give another log")
    in_order = sorted(rows.values(), key=lambda row: (row["epoch"], isinstance(row["id"], str), row["id"]))
    return [(f"{path}: sample {row['id']}", row) for row in in_order]


def _of_zip(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            # A sample that was run again has a second member of the same name, which counts.
            members = {each.filename: each for each in archive.infolist() if SAMPLE.fullmatch(each.filename)}
            if sum(each.file_size for each in members.values()) > LARGEST_TOTAL:
                raise UserError(f"{path}: its samples are over {LARGEST_TOTAL >> 30} GiB: give a part of them")
            for name, member in members.items():
                where = f"{path}: {name}"
                if max(member.file_size, member.compress_size) > LARGEST:
                    raise UserError(f"{where}: over {LARGEST >> 20} MiB: leave that sample out")
                yield where, _parsed(_bytes(file, archive, member), where)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a whole .eval file ({cause(error, 80)}): {MAKE_AGAIN}") from error


def _bytes(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """What a member holds, never more than it says."""
    if member.compress_type != ZSTANDARD:
        with archive.open(member) as opened:
            return opened.read(member.file_size)
    import pyarrow

    file.seek(member.header_offset)
    name, extra = struct.unpack("<26x2H", file.read(30))
    file.seek(name + extra, 1)
    packed = pyarrow.BufferReader(file.read(member.compress_size))
    try:
        with pyarrow.CompressedInputStream(packed, "zstd") as stream:
            content = stream.read(member.file_size + 1)
    except (OSError, pyarrow.ArrowException) as error:
        raise zipfile.BadZipFile(f"{member.filename} cannot be decompressed") from error
    if len(content) != member.file_size or zlib.crc32(content) != member.CRC:
        raise zipfile.BadZipFile(f"{member.filename} is not what was written")
    return content


def _of_json(path: Path) -> Iterator[tuple[str, Any]]:
    if path.stat().st_size > LARGEST_JSON:
        raise UserError(f"{path}: over {LARGEST_JSON >> 20} MiB: make it .eval with `inspect log convert --to eval`")
    log = _parsed(path.read_bytes(), str(path))
    samples = log.get("samples") if isinstance(log, dict) else None
    if isinstance(samples, list):
        yield from ((f"{path}: sample {number}", sample) for number, sample in enumerate(samples, start=1))


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text: {MAKE_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: broken JSON ({cause(error, 80)}): {MAKE_AGAIN}") from error


def _row(sample: Any, where: str) -> dict[str, Any]:
    known = sample if isinstance(sample, dict) else {}
    if type(known.get("id")) not in (int, str) or type(known.get("epoch")) is not int:
        raise UserError(f"{where}: no sample with an id and an epoch: {MAKE_AGAIN}")
    output, target = known.get("output"), known.get("target")
    choices = output.get("choices") if isinstance(output, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    return {
        "id": known["id"],
        "epoch": known["epoch"],
        "input": _question(known.get("input")),
        "target": target[0] if isinstance(target, list) and len(target) == 1 else target,
        "completion": _reply(choice.get("message")),
        "finish_reason": CUT_OFF if choice.get("stop_reason") in CUT_OFF_REASONS else "stop",
        "metadata": known.get("metadata"),
    }


def _question(asked: Any) -> str | None:
    """The text of a sample's input; of messages, the last one of the user."""
    if isinstance(asked, list):
        of_user = [each for each in asked if isinstance(each, dict) and each.get("role") == "user"]
        return columns.content_of(of_user[-1]) if of_user else None
    return asked if isinstance(asked, str) else None


def _reply(message: Any) -> str | None:
    """The text of a message. Reasoning, which inspect_ai takes out of its <think> tags, stands in them again."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    reasoning, text = ("\n".join(_texts(content, kind)) for kind in ("reasoning", "text"))
    return f"<think>\n{reasoning}\n</think>\n\n{text}" if reasoning else text


def _texts(parts: list[Any], kind: str) -> list[str]:
    known = [part for part in parts if isinstance(part, dict) and part.get("type") == kind]
    # What a provider encrypted is no text.
    return [part[kind] for part in known if isinstance(part.get(kind), str) and not part.get("redacted")]
