"""The GRPO stage, with any backend: prompts, rewards, one log line per step, probes, a checked adapter."""

from dataclasses import asdict
from pathlib import Path

from harness.config import Configuration
from harness.console import progress
from harness.data import datasets
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from harness.rewards import Reward, functions
from harness.stages import Stage
from harness.storage.run_folder import Run
from harness.types import ACCURACY_FLEXIBLE, Equality
from train.rollouts import Rollouts, accuracy_function, own_functions
from train.stage import finish, record_problems, training


def train(run: Run, row: Stage, quiet: bool) -> None:
    """Train the configured model's adapter into the run folder, from its last checkpoint if there is one."""
    with training(run, row, run.path / "train", quiet) as stage:
        from train import rows, trainers
        from train.step_log import StepLog

        config = stage.config
        dataset, evaluated = datasets.training_problems(config)
        prompts = rows.prompts_of(config, dataset, stage.tokenizer)
        record_problems(
            stage,
            run,
            dataset,
            prompts=len(prompts.rows),
            held_out_prompts=len(prompts.held_out),
            evaluated_prompts=evaluated,
            near_copies=asdict(datasets.near_copies(config, dataset)),
            too_long_prompts=prompts.too_long,
            max_prompt=prompts.max_prompt,
            max_completion=prompts.max_completion,
        )
        progress.note(
            f"{row.title}: {len(prompts.rows)} prompts of at most {prompts.max_prompt} tokens ({prompts.too_long} "
            f"longer ones and {evaluated} that the run evaluates left out), completions of at most "
            f"{prompts.max_completion}",
            stage.quiet,
        )
        rollouts = Rollouts(
            stage.folder / "rollouts.jsonl",
            stage.done,
            reward_functions(config, dataset.equality, prompts.probe, prompts.max_completion),
            config.generations,
            keeps=stage.first,
            correct=_correct(config, dataset.equality, prompts.probe, prompts.max_completion),
        )
        with progress.bar(row.title, config.steps, stage.done, stage.quiet) as bar:
            log = StepLog(stage, bar, shown="reward", limit=prompts.max_completion, probed=rollouts.take_probe)
            adapter = run.sft_folder / "adapter" if config.trains_sft else None
            trainer = trainers.grpo_trainer(stage, prompts, rollouts.functions, log, adapter)
            finish(stage, trainer, prompts.probe, adapter)
        stage.provenance["health"] = [warning.text for warning in log.warnings()]


def reward_functions(config: Configuration, equality: Equality, prompt: str, limit: int) -> list[Reward]:
    """The recipe's reward functions, or a user's own out of a file, and after them the accuracy.

    `limit`: the most tokens of a completion.
    """
    format = FORMATS[config.format]
    prefix = formats.prompt_prefix(prompt, format)
    if config.has_own_rewards:
        rewards = own_functions(Path(config.rewards), config.rewards_sha)
    else:
        rewards = functions(
            config.rewards,
            config.variant,
            format=format,
            equality=equality,
            language=config.target_language,
            prefix=prefix,
            limit=limit,
        )
    return [*rewards, accuracy_function(format, equality, prefix, limit)]


def _correct(config: Configuration, equality: Equality, prompt: str, limit: int) -> Reward:
    """The function that scores completions of held-out problems by their final answer alone."""
    format = FORMATS[config.format]
    return accuracy_function(format, equality, formats.prompt_prefix(prompt, format), limit, ACCURACY_FLEXIBLE)
