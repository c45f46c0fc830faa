"""Unsloth under the same GRPO trainer: its kernels, its memory savings, its CPU backend where there is no GPU."""

import os

os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")

import unsloth  # isort: skip, it patches what the next lines import

from typing import Any

from harness import checkpoints
from harness.config import Configuration
from train.backends.trl import DTYPE, TrlBackend


class UnslothBackend(TrlBackend):
    """GRPO with Unsloth's model and trainer."""

    name = "unsloth"

    def _load(self, config: Configuration) -> tuple[Any, None]:
        model, _ = unsloth.FastModel.from_pretrained(
            checkpoints.locate(config.checkpoint),
            max_seq_length=config.max_prompt + config.max_completion,
            load_in_4bit=False,
            dtype=DTYPE,
            random_state=config.seed,
            max_lora_rank=config.lora_rank,
        )
        model = unsloth.FastModel.get_peft_model(
            model,
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_targets),
            finetune_vision_layers=False,
            random_state=config.seed,
        )
        return model, None
