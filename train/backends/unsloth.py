"""Unsloth under the same trainers: its kernels, its memory savings, its CPU backend where there is no GPU."""

import unsloth  # isort: skip, it patches what the next lines import

from pathlib import Path
from typing import Any

import torch

from harness.config import Configuration
from harness.models import checkpoints, loading
from harness.models.precision import training_dtype
from train.backends.trl import with_stored_adapter

# Architectures that Unsloth has kernels of its own for; it compiles the others.
OWN_KERNELS = ("llama", "mistral", "qwen2", "qwen3")


class UnslothBackend:
    """Loads Unsloth's model for TRL's trainers, which Unsloth has replaced by its own."""

    name = "unsloth"

    def load(self, config: Configuration, adapter: Path | None) -> tuple[Any, None]:
        """Load the model with its adapter on it; with vLLM rollouts its weights are vLLM's too."""
        own = checkpoints.model_config(config.checkpoint).get("model_type") in OWN_KERNELS
        loader = unsloth.FastLanguageModel if own else unsloth.FastModel
        model, _ = loading.load(
            loader,
            config.checkpoint,
            config.trust_remote_code,
            # Unsloth would take a copy of its own instead of the repository that is evaluated.
            use_exact_model_name=True,
            max_seq_length=config.max_sequence,
            load_in_4bit=config.weights == "4-bit",
            dtype=getattr(torch, training_dtype(config)),
            fast_inference=config.rollouts == "vllm",
            gpu_memory_utilization=config.gpu_memory_utilization,
            max_lora_rank=config.lora_rank,
            random_state=config.seed,
        )
        model = loader.get_peft_model(
            model,
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_targets),
            use_gradient_checkpointing=config.gradient_checkpointing,
            random_state=config.seed,
            **({} if own else {"finetune_vision_layers": False}),
        )
        return with_stored_adapter(model, adapter) if adapter else model, None
