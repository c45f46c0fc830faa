"""Checks of an adapter for vLLM before an engine is started: room for its rank, and what it would not apply."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from vllm.config.lora import LoRAConfig
from vllm.lora.peft_helper import PEFTHelper

from harness.errors import UserError, cause
from harness.models import checkpoints

# The ranks that vLLM has room for.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Settings of PEFT's that change what an adapter's weights mean. A vLLM that does not know one of them ignores it.
MEANING = (
    "alora_invocation_tokens", "alpha_pattern", "bias", "fan_in_fan_out", "layer_replication", "lora_bias",
    "modules_to_save", "rank_pattern", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "use_rslora",
)  # fmt: skip


def room_for(rank: int, adapter: str) -> int:
    """The max_lora_rank for a rank. Raises UserError beyond vLLM's largest."""
    room = next((each for each in RANKS if each >= rank), None)
    if room is None:
        raise UserError(f"--adapter {adapter}: rank {rank} is over vLLM's {RANKS[-1]}: evaluate with transformers")
    return room


def check(adapter: str, room: int) -> None:
    """Raises UserError if this vLLM would refuse the adapter, or apply it otherwise than PEFT does."""
    settings = checkpoints.read_json(Path(adapter) / "adapter_config.json")
    known = {field.name for field in fields(PEFTHelper)}
    ignored = [key for key in MEANING if settings.get(key) not in (None, "none", False, [], {}) and key not in known]
    if ignored:
        raise cannot_apply(adapter, f"it ignores {', '.join(ignored)}")
    try:
        PEFTHelper.from_dict(settings).validate_legal(LoRAConfig(max_lora_rank=room))
    except (ValueError, TypeError) as error:
        raise cannot_apply(adapter, error) from error


def cannot_apply(adapter: str, why: Any) -> UserError:
    """The error for an adapter that vLLM does not take, with the other ways to evaluate it."""
    return UserError(
        f"--adapter {adapter}: vLLM cannot apply it ({cause(why, 200)}): --engine transformers can, or merge it into "
        "its base (harness export --to merged-16bit) and give the merged checkpoint as --model"
    )
