"""The SFT stage: training on worked solutions in the recipe's own format; GRPO continues with the same adapter."""

import math
from dataclasses import asdict

from harness.console import progress
from harness.data import datasets
from harness.evaluation.prompts import system_text
from harness.models import chat
from harness.parsing import formats
from harness.stages import Stage
from harness.storage.run_folder import Run
from train.stage import finish, record_problems, training


def train(run: Run, row: Stage, quiet: bool) -> None:
    """Train the adapter on worked solutions, from the last checkpoint if there is one."""
    with training(run, row, run.sft_folder, quiet) as stage:
        from train import rows, trainers
        from train.step_log import StepLog

        config = stage.config
        lessons, evaluated = datasets.lessons(config)
        solutions = rows.solutions_of(config, lessons, stage.tokenizer)
        record_problems(
            stage,
            run,
            lessons,
            solutions=len(solutions.rows),
            too_long_solutions=solutions.too_long,
            rewritten_solutions=solutions.rewritten,
            evaluated_solutions=evaluated,
            near_copies=asdict(datasets.near_copies(config, lessons)),
        )
        progress.note(
            f"{row.title}: {len(solutions.rows)} worked solutions ({solutions.too_long} longer than half of "
            f"max_sequence and {evaluated} that the run evaluates left out)",
            stage.quiet,
        )
        if solutions.rewritten:
            progress.note(
                f"{row.title}: the chat template changes {solutions.rewritten} of the solutions (it drops or moves the "
                "reasoning): prompt, solution and end of turn are put together without it",
                stage.quiet,
            )
        batches = math.ceil(len(solutions.rows) / config.sft_batch)
        steps = math.ceil(config.sft_epochs * math.ceil(batches / config.sft_accumulation))
        question = formats.messages(lessons.problems[0].question, system_text(config))
        with progress.bar(row.title, steps, stage.done, stage.quiet) as bar:
            log = StepLog(stage, bar, shown="loss")
            prompt = chat.render(stage.tokenizer, question)
            finish(stage, trainers.sft_trainer(stage, solutions.rows, log), prompt, None)
