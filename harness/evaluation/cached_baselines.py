"""A cache of baselines: a second experiment on the same base starts at its training.

A baseline is stored under the hash of all that decides it: the checkpoint's files, the engine with its settings and
versions, every prompt, and the sampling. Each is one file below ~/.cache/harness, or $HARNESS_CACHE.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from harness.errors import UserError
from harness.storage.files import cache_folder, read_json, write_json
from harness.types import Completion, Request, Sampling


def key_of(producer: dict, requests: Sequence[Request], sampling: Sampling) -> dict:
    """All that decides the completions of `requests`; `producer` is what generates them."""
    prompts = [[request.problem.id, request.index, request.prompt_sha, request.seed] for request in requests]
    return {
        "identity": producer,
        "sampling": asdict(sampling),
        "prompts": hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
    }


def fetch(key: dict, requests: Sequence[Request]) -> list[Completion] | None:
    """The stored completions of `requests`, with the problems of today; None if there are none or they changed."""
    try:
        entry = read_json(_path(key))
    except UserError:
        return None
    if (
        not isinstance(entry, dict)
        or entry.get("decided_by") != key
        or entry.get("sha256") != _sha(entry.get("replies"))
    ):
        return None
    rows = {(row["problem_id"], row["index"]): row for row in entry["replies"]}
    if rows.keys() != {request.place for request in requests}:
        return None
    return [
        request.complete(row["text"], row["n_tokens"], row["finish_reason"])
        for request, row in ((request, rows[request.place]) for request in requests)
    ]


def keep(key: dict, completions: Sequence[Completion]) -> None:
    """Store a whole baseline; a cache that cannot be written is no reason for a run to fail."""
    columns = ("problem_id", "index", "text", "n_tokens", "finish_reason")
    rows = [{name: getattr(each, name) for name in columns} for each in completions]
    with suppress(OSError, UserError):
        write_json(_path(key), {"decided_by": key, "sha256": _sha(rows), "replies": rows})


def _path(key: dict) -> Path:
    return cache_folder() / "baselines" / f"{_sha(key)}.json"


def _sha(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
