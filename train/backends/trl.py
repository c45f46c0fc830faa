"""Plain TRL and PEFT, on whatever device there is."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, TrainerCallback

from harness import checkpoints
from harness.config import Configuration
from harness.errors import UserError
from harness.rewards import Reward

DTYPE = torch.bfloat16 if torch.cuda.is_available() else torch.float32
# Our keys -> GRPOConfig's.
NAMES = {
    "steps": "max_steps",
    "save_steps": "save_steps",
    "generations": "num_generations",
    "accumulation": "gradient_accumulation_steps",
    "max_completion": "max_completion_length",
    "learning_rate": "learning_rate",
    "optimizer": "optim",
    "adam_beta1": "adam_beta1",
    "adam_beta2": "adam_beta2",
    "weight_decay": "weight_decay",
    "schedule": "lr_scheduler_type",
    "warmup": "warmup_steps",
    "max_grad_norm": "max_grad_norm",
    "beta": "beta",
    "loss_type": "loss_type",
    "gradient_checkpointing": "gradient_checkpointing",
    "rollout_temperature": "temperature",
    "rollout_top_p": "top_p",
    "rollout_top_k": "top_k",
    "rollout_min_p": "min_p",
    "seed": "seed",
}


class TrlBackend:
    """A GRPO trainer for one configuration; `rows` have TRL's columns prompt (a conversation) and answer."""

    name = "trl"

    def __init__(
        self,
        config: Configuration,
        folder: Path,
        rows: Sequence[dict],
        rewards: Sequence[Reward],
        callbacks: Sequence[TrainerCallback],
        trackers: list[str],
    ):
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        arguments = self._arguments(config, folder, trackers)
        self.tokenizer = checkpoints.load_tokenizer(config.checkpoint)
        try:
            model, lora = self._load(config)
            # By its module's name: Unsloth puts its own trainer there.
            self.trainer = trl.GRPOTrainer(
                model=model,
                reward_funcs=list(rewards),
                args=arguments,
                train_dataset=Dataset.from_list(list(rows)),
                processing_class=self.tokenizer,
                peft_config=lora,
                callbacks=list(callbacks),
            )
        except ValueError as error:
            raise UserError(f"the recipe does not fit the model: {' '.join(str(error).split())[:200]}") from error
        self.trainer.remove_callback(transformers.PrinterCallback)

    def _load(self, config: Configuration) -> tuple[Any, LoraConfig | None]:
        """The model, and the adapter that the trainer shall put on it; None where the model has it."""
        model = checkpoints.load(AutoModelForCausalLM, config.checkpoint, dtype=DTYPE)
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_targets),
            task_type="CAUSAL_LM",
        )
        return model, lora

    def train(self, checkpoint: Path | None, done: int) -> None:
        """Train on from a checkpoint; where all steps are done already, only load it."""
        if checkpoint and done >= self.trainer.args.max_steps:
            set_peft_model_state_dict(self.trainer.model, load_peft_weights(str(checkpoint), device="cpu"))
        else:
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    @property
    def model(self) -> Any:
        """The PEFT model as trained."""
        return self.trainer.model

    @property
    def effective_config(self) -> dict[str, Any]:
        """What the trainer says it runs with."""
        return {
            "trainer": self.name,
            "grpo": self.trainer.args.to_dict(),
            "lora": {key: sorted(value) if isinstance(value, set) else value
                     for key, value in self.model.peft_config["default"].to_dict().items()},
            "trainable_parameters": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }  # fmt: skip

    def _arguments(self, config: Configuration, folder: Path, trackers: list[str]) -> trl.GRPOConfig:
        values = {theirs: getattr(config, ours) for ours, theirs in NAMES.items()}
        # A warm-up below 1 is read as a share of the steps; 0 of them must stay an integer.
        values["warmup_steps"] = config.warmup or 0
        values |= {
            "output_dir": str(folder),
            "per_device_train_batch_size": config.prompts_per_step * config.generations // config.accumulation,
            "bf16": torch.cuda.is_available(),
            "use_cpu": not torch.cuda.is_available(),
            "logging_steps": 1,
            "save_total_limit": 2,
            "disable_tqdm": True,
            "dataloader_pin_memory": torch.cuda.is_available(),
            "report_to": trackers,
            "run_name": config.folder_name,
        }
        known = {field.name for field in fields(trl.GRPOConfig)}
        missing = sorted(values.keys() - known)
        if missing:
            raise UserError(f"this TRL has no {', '.join(missing)}: install the version in constraints/cpu.txt")
        try:
            return trl.GRPOConfig(**values)
        except ValueError as error:
            raise UserError(f"TRL refuses the recipe: {' '.join(str(error).split())}") from error
