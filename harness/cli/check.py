"""Everything that can be known to be wrong before a model is loaded or a folder is made."""

from pathlib import Path

from harness import datasets, registry
from harness.config import Configuration
from harness.engines import AUTO, ENGINES
from harness.errors import UserError
from harness.rewards import PRESETS


def check_run(config: Configuration, stages: list[str]) -> None:
    """A UserError for the first wrong name, missing file, unreadable dataset or impossible batch."""
    registry.choose("reward preset", config.rewards, PRESETS)
    registry.choose("engine", config.engine, [AUTO, *ENGINES])
    if config.adapter and not (Path(config.adapter) / "adapter_config.json").is_file():
        raise UserError(f"--adapter {config.adapter}: no adapter_config.json there: give a PEFT adapter's folder")
    if Path(config.checkpoint).is_dir() and not (Path(config.checkpoint) / "config.json").is_file():
        raise UserError(f"--model {config.checkpoint}: no config.json there: give a checkpoint's folder")
    if "train" in stages:
        _check_training(config)
    if {"before", "after"} & set(stages):
        datasets.evaluation_problems(config)


def _check_training(config: Configuration) -> None:
    from train.backends import AUTO as AUTO_TRAINER
    from train.backends import TRAINERS

    registry.choose("trainer", config.trainer, [AUTO_TRAINER, *TRAINERS])
    if (config.prompts_per_step * config.generations) % config.accumulation:
        raise UserError(
            f"accumulation = {config.accumulation} does not divide the {config.prompts_per_step} x "
            f"{config.generations} completions of a step: change prompts_per_step, generations or accumulation"
        )
    datasets.training_problems(config)
