"""What a training stage knows while it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import Configuration
from harness.stages import Stage


@dataclass
class Training:
    """A stage under way, in one of perhaps several processes.

    `row` is the stage's in the table; `config` is as this machine can run it; `ends` are the tokens that end a
    completion; training continues from `checkpoint`, after `done` steps; only the `first` process writes what is not
    the trainer's own; `provenance` goes into run.json.
    """

    row: Stage
    config: Configuration
    backend: Any
    tokenizer: Any
    ends: frozenset[int]
    folder: Path
    quiet: bool
    first: bool
    checkpoint: Path | None
    done: int
    replaced: dict[str, str]
    provenance: dict
