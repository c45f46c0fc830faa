"""TRL's trainers, built for a stage. By their module's names: Unsloth replaces them there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
import trl
from datasets import Dataset
from transformers import TrainerCallback

from harness.errors import UserError, cause
from harness.rewards import Reward
from train import arguments
from train.cpu_rollouts import CpuGrpoTrainer
from train.grpo_trainer import GrpoTrainer
from train.rows import Prompts
from train.training import Training


def grpo_trainer(
    stage: Training, prompts: Prompts, functions: Sequence[Reward], log: TrainerCallback, adapter: Path | None
) -> Any:
    """A GRPO trainer; `adapter` is the SFT stage's, or None for a fresh one."""
    # Before the weights: what TRL refuses costs nothing yet, and each process gets its GPU here.
    values = arguments.grpo_arguments(
        stage.config,
        stage.folder / "checkpoints",
        prompts.max_completion,
        len(functions),
        len(prompts.held_out),
        bool(stage.checkpoint),
    )
    model, lora = _load_seeded(stage, adapter)
    held_out = [row | {"held_out": number} for number, row in enumerate(prompts.held_out)]
    return _build(
        CpuGrpoTrainer if values.use_cpu and stage.backend.name == "trl" else GrpoTrainer,
        ends=stage.ends,
        model=model,
        peft_config=lora,
        reward_funcs=list(functions),
        args=values,
        train_dataset=Dataset.from_list(prompts.rows),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
        processing_class=stage.tokenizer,
        callbacks=[log],
    )


def sft_trainer(stage: Training, rows: Sequence[dict], log: TrainerCallback) -> Any:
    """An SFT trainer on whole token sequences."""
    values = arguments.sft_arguments(stage.config, stage.folder / "checkpoints")
    model, lora = _load_seeded(stage, None)
    return _build(
        trl.SFTTrainer,
        model=model,
        peft_config=lora,
        args=values,
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=stage.tokenizer,
        callbacks=[log],
    )


def _load_seeded(stage: Training, adapter: Path | None) -> tuple[Any, Any]:
    """Load by the backend, seeded: a fresh adapter is random, and TRL seeds later than that."""
    transformers.set_seed(stage.config.seed)
    return stage.backend.load(stage.config, adapter)


def _build(kind: type, **values: Any) -> Any:
    try:
        trainer = kind(**values)
    except ValueError as error:
        raise UserError(f"the recipe does not fit the model: {cause(error, 200)}") from error
    trainer.remove_callback(transformers.PrinterCallback)
    if trainer.args.fp16:
        # Gradients in float16 overflow unless they are scaled, and only those of float32 weights can be; TRL makes
        # bfloat16 of an adapter on a 4-bit base.
        for weights in (each for each in trainer.model.parameters() if each.requires_grad):
            weights.data = weights.data.float()
    return trainer
