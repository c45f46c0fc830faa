"""A trained adapter as files that other programs load."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import EMBEDDED
from harness.models import checkpoints, modelscope
from harness.storage.run_folder import Run

TARGETS = {
    "lora": "train.export.weights:write_lora",
    "merged-16bit": "train.export.weights:write_16bit",
    "merged-4bit": "train.export.weights:write_4bit",
    "gguf": "train.export.llama_cpp:write_gguf",
}


@dataclass(frozen=True)
class Export:
    """An adapter on its base, to be written as one of TARGETS.

    `quants` are GGUF's; `run` is the run that trained or evaluated the adapter, if there is one; `chat_template` is a
    template's text, empty for the checkpoint's own; `trust`: the checkpoint's own Python code may run; `switches` are
    what the template reads besides.
    """

    name: str
    checkpoint: str
    adapter: str
    to: str
    quants: tuple[str, ...]
    run: Run | None
    chat_template: str
    trust: bool = False
    switches: dict[str, Any] = field(default_factory=dict)

    @property
    def hub_id(self) -> str | None:
        """The base's id on the hub; None for a folder of this machine."""
        return None if Path(checkpoints.locate(self.checkpoint)).is_dir() else self.checkpoint

    @property
    def base(self) -> str:
        """The base as strangers may read it: its id on the hub or ModelScope, or its folder's name without the path."""
        if self.checkpoint == EMBEDDED:
            return "harness's embedded model"
        return self.hub_id or modelscope.id_of(self.checkpoint) or Path(self.checkpoint).name
