"""Baselines that were drawn before: a second experiment on the same base starts at its training.

A baseline is kept under the hash of all that decides it: the checkpoint's files, the engine with its settings and
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


def determinants(identity: dict, requests: Sequence[Request], sampling: Sampling) -> dict:
    """All that decides the replies to `requests`."""
    prompts = [[request.problem.id, request.index, request.prompt_sha, request.seed] for request in requests]
    return {
        "identity": identity,
        "sampling": asdict(sampling),
        "prompts": hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
    }


def fetch(decided_by: dict, requests: Sequence[Request]) -> list[Completion] | None:
    """The kept replies to `requests`, with the problems as they stand today; None where there are none, or changed."""
    try:
        kept = read_json(_path(decided_by))
    except UserError:
        return None
    if (
        not isinstance(kept, dict)
        or kept.get("decided_by") != decided_by
        or kept.get("sha256") != _sha(kept.get("replies"))
    ):
        return None
    replies = {(row["problem_id"], row["index"]): row for row in kept["replies"]}
    if replies.keys() != {request.place for request in requests}:
        return None
    return [
        request.complete(row["text"], row["n_tokens"], row["finish_reason"])
        for request, row in ((request, replies[request.place]) for request in requests)
    ]


def keep(decided_by: dict, completions: Sequence[Completion]) -> None:
    """Keep a whole baseline; a cache that cannot be written is none, and no reason for a run to fail."""
    columns = ("problem_id", "index", "text", "n_tokens", "finish_reason")
    rows = [{name: getattr(each, name) for name in columns} for each in completions]
    with suppress(OSError):
        write_json(_path(decided_by), {"decided_by": decided_by, "sha256": _sha(rows), "replies": rows})


def _path(decided_by: dict) -> Path:
    return cache_folder() / "baselines" / f"{_sha(decided_by)}.json"


def _sha(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
