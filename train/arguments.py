"""Recipe keys -> the arguments of the installed trainers, each checked against the dataclass that takes it."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import trl

from harness.config import Configuration
from harness.errors import UserError, cause
from harness.models.precision import training_dtype
from train.stage import processes
from train.trackers import TRAINERS_OWN

BOTH = {
    "seed": "seed",
    "trust_remote_code": "trust_remote_code",
    "save_steps": "save_steps",
    "optimizer": "optim",
    "adam_beta1": "adam_beta1",
    "adam_beta2": "adam_beta2",
    "weight_decay": "weight_decay",
    "schedule": "lr_scheduler_type",
    "max_grad_norm": "max_grad_norm",
}
GRPO = BOTH | {
    "steps": "max_steps",
    "generations": "num_generations",
    "accumulation": "gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "beta": "beta",
    "loss_type": "loss_type",
    "kl_bias_correction": "use_bias_correction_kl",
    "scale_rewards": "scale_rewards",
    "mask_truncated_completions": "mask_truncated_completions",
    "epsilon": "epsilon",
    "epsilon_high": "epsilon_high",
    "rollout_temperature": "temperature",
    "rollout_top_p": "top_p",
    "rollout_top_k": "top_k",
    "rollout_min_p": "min_p",
}
SFT = BOTH | {
    "sft_epochs": "num_train_epochs",
    "sft_batch": "per_device_train_batch_size",
    "sft_accumulation": "gradient_accumulation_steps",
    "sft_learning_rate": "learning_rate",
    "sft_warmup_steps": "warmup_steps",
}


def grpo_arguments(
    config: Configuration, folder: Path, max_completion: int, functions: int, probes: int, resumes: bool
) -> Any:
    """trl.GRPOConfig; the last of the `functions` reward functions is the accuracy, whose weight is 0.

    `probes` problems are held out; `resumes`: training continues after its first probe.
    """
    if config.rollouts == "generate" and _has_fsdp2():
        raise UserError(
            "rollouts = generate: a model with an adapter that FSDP 2 shares out cannot generate: give rollouts = vllm "
            "or server, or launcher = torchrun"
        )
    completions = config.prompts_per_step * config.generations // config.accumulation
    values = _common(config, folder, GRPO) | {
        # A warm-up below 1 is read as a share of the steps; 0 of them must stay an integer.
        "warmup_steps": config.warmup or 0,
        "per_device_train_batch_size": _share(completions, "completions", "prompts_per_step or generations"),
        "max_completion_length": max_completion,
        "reward_weights": [1.0] * (functions - 1) + [0.0],
        "use_vllm": config.rollouts != "generate",
        "vllm_importance_sampling_correction": config.importance_correction,
    }
    if config.rollouts == "vllm":
        values |= {
            "vllm_mode": "colocate",
            "vllm_gpu_memory_utilization": config.gpu_memory_utilization,
            "vllm_max_model_length": config.max_sequence,
        }
    elif config.rollouts == "server":
        values |= {"vllm_mode": "server", "vllm_server_base_url": config.rollout_server}
    if config.eval_every:
        values |= {
            "eval_strategy": "steps",
            "eval_steps": config.eval_every,
            "eval_on_start": not resumes,
            "num_generations_eval": 1,
            # No larger than a training batch, and all of one size, as the probe is the mean over its batches.
            "per_device_eval_batch_size": max(
                size for size in range(1, values["per_device_train_batch_size"] + 1) if probes % size == 0
            ),
        }
    arguments = _make(trl.GRPOConfig, values)
    # Unsloth's config drops the scaling with loss_type = dr_grpo, even if it is configured.
    arguments.scale_rewards = config.scale_rewards
    return arguments


def sft_arguments(config: Configuration, folder: Path) -> Any:
    """trl.SFTConfig."""
    values = _common(config, folder, SFT) | {
        "max_length": config.max_sequence,
        "packing": False,
        # Unsloth would otherwise put a batch's solutions one behind the other, and attend to each in a call of its own.
        "padding_free": False,
    }
    values["per_device_train_batch_size"] = _share(config.sft_batch, "solutions", "sft_batch")
    return _make(trl.SFTConfig, values)


def _has_fsdp2() -> bool:
    """Whether accelerate shares the model out by FSDP 2, as `accelerate launch` tells its processes."""
    return os.environ.get("ACCELERATE_USE_FSDP") == "true" and os.environ.get("FSDP_VERSION") == "2"


def _share(batch: int, things: str, keys: str) -> int:
    """One process's share of a batch of so many things. Raises UserError, which names the recipe's keys, if uneven."""
    if batch % processes():
        raise UserError(f"{processes()} processes cannot share the {batch} {things} of a batch: change {keys}")
    return batch // processes()


def _common(config: Configuration, folder: Path, names: dict[str, str]) -> dict[str, Any]:
    gpu, dtype = torch.cuda.is_available(), training_dtype(config)
    return {theirs: getattr(config, ours) for ours, theirs in names.items()} | {
        "output_dir": str(folder),
        "run_name": config.folder_name,
        "report_to": [config.tracker] if config.tracker in TRAINERS_OWN else [],
        "logging_steps": 1,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "gradient_checkpointing": bool(config.gradient_checkpointing),
    }


def _make(kind: type, values: dict[str, Any]) -> Any:
    missing = sorted(values.keys() - {field.name for field in fields(kind)})
    if missing:
        raise UserError(f"this TRL has no {', '.join(missing)}: install the version in constraints/cpu.txt")
    try:
        arguments = kind(**values)
    except ValueError as error:
        raise UserError(f"TRL refuses the recipe: {cause(error, 400)}") from error
    # Several GPUs without a launcher would each take a whole batch (torch's DataParallel).
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
