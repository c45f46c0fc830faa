"""Find a checkpoint: the embedded one, a local folder, or the hub; and tell apart one's weights by their hash."""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from harness.config import EMBEDDED
from harness.errors import UserError


def locate(checkpoint: str) -> str:
    """What transformers loads: a folder, or a hub id."""
    if checkpoint == EMBEDDED:
        return str(resources.files("baselines") / "tiny" / "model")
    return checkpoint


def load(loader: Any, checkpoint: str, **arguments: Any) -> Any:
    """`loader.from_pretrained`, with a UserError where the checkpoint is not to be had."""
    where = locate(checkpoint)
    try:
        return loader.from_pretrained(where, **arguments)
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:160]
        fix = "give --model a whole checkpoint folder" if Path(where).is_dir() else "give --model a local folder"
        raise UserError(f"{checkpoint}: cannot be loaded ({cause}): {fix}") from error


def load_tokenizer(checkpoint: str) -> Any:
    """The checkpoint's tokenizer, padding on the left as generation wants it; it must have a chat template."""
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, checkpoint, padding_side="left")
    if not tokenizer.chat_template:
        raise UserError(f"{checkpoint}: its tokenizer has no chat template: give an instruction-tuned checkpoint")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """The conversation as the text that the model continues."""
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def weight_hashes(checkpoint: str) -> dict[str, str]:
    """SHA-256 of each safetensors file of a folder, by file name; nothing for a hub id."""
    hashes = {}
    for file in sorted(Path(locate(checkpoint)).glob("*.safetensors")):
        with file.open("rb") as stream:
            hashes[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes
