"""The GRPO stage, whatever the backend: data in TRL's shape, a log line a step, a checked adapter at the end."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness import checkpoints, datasets, formats, progress, registry, rewards
from harness.config import Configuration
from harness.errors import UserError
from harness.evaluate import dataset_sha, system_text, versions
from harness.formats import FORMATS
from harness.rewards import Reward
from harness.store import Run, json_line, read_journal, write_json, write_lines
from harness.types import Dataset
from train.backends import TRAINERS, trainer_name
from train.trackers import tracked


def train(run: Run, quiet: bool) -> None:
    """Train the configured model's adapter into the run folder, from its last checkpoint where there is one."""
    config, folder = run.config, run.path / "train"
    # First of all: Unsloth patches the libraries that everything below imports.
    backend_class = registry.load("trainer", trainer_name(config.trainer), TRAINERS)
    from train import lora
    from train.step_log import StepLog

    dataset = datasets.training_problems(config)
    with run.stage("train") as provenance:
        progress.note(f"train: loading {config.checkpoint}", quiet)
        tokenizer = checkpoints.load_tokenizer(config.checkpoint)
        rows, prompt = training_rows(config, dataset, tokenizer)
        provenance |= {
            "prompts": len(rows),
            "too_long_prompts": len(dataset.problems) - len(rows),
            "dataset_sha": dataset_sha(dataset),
            "versions": versions(),
        }
        checkpoint = last_checkpoint(folder / "checkpoints")
        done = _step_of(checkpoint) if checkpoint else 0
        functions = rewards.functions(
            config.rewards,
            config.variant,
            format=FORMATS[config.format],
            equality=dataset.equality,
            language=config.target_language,
            prefix=formats.prompt_prefix(prompt, FORMATS[config.format]),
        )
        with (
            progress.bar("train", config.steps, done, quiet) as bar,
            tracked(config, folder / config.tracker) as trackers,
        ):
            log = StepLog(folder / "log.jsonl", done, bar)
            rollouts = Rollouts(folder / "rollouts.jsonl", done, functions, config.generations)
            backend = backend_class(config, folder / "checkpoints", rows, rollouts.functions, [log], trackers)
            backend.train(checkpoint, done)
        write_json(folder / "effective_config.json", backend.effective_config)
        provenance |= save_adapter(backend.model, run.adapter, lora.check_trained)
        provenance["logit_difference"] = lora.logit_difference(backend.model, tokenizer, prompt)


def training_rows(config: Configuration, dataset: Dataset, tokenizer: Any) -> tuple[list[dict], str]:
    """TRL rows of the prompts that fit into `max_prompt` tokens, and one rendered prompt to probe with."""
    system = system_text(config)
    rows = [
        {"prompt": formats.messages(problem.question, system), "answer": problem.answer} for problem in dataset.problems
    ]
    prompts = [checkpoints.render(tokenizer, row["prompt"]) for row in rows]
    lengths = [len(ids) for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]] if prompts else []
    kept = [row for row, length in zip(rows, lengths, strict=True) if length <= config.max_prompt]
    if len(kept) < config.prompts_per_step:
        raise UserError(
            f"{config.dataset}: {len(kept)} of {len(rows)} training prompts fit into max_prompt = {config.max_prompt} "
            f"tokens, a step needs {config.prompts_per_step}: raise max_prompt or give a larger dataset"
        )
    return kept, checkpoints.render(tokenizer, kept[0]["prompt"])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer writes its state last, so a folder without it was cut short."""
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=_step_of, default=None)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def save_adapter(model: Any, folder: Path, check: Callable[[Path], dict[str, int]]) -> dict[str, int]:
    """Save under a temporary name, check, rename: an adapter folder is whole and trained."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    counts = check(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return counts


class Rollouts:
    """Keeps the first prompt's completions of every step with what each reward function paid."""

    def __init__(self, path: Path, done: int, functions: Sequence[Reward], generations: int):
        self.path, self.generations = path, generations
        self.functions = [self._recorded(function, function is functions[-1]) for function in functions]
        self._paid: dict[str, list] = {}
        write_lines(path, [row for row in read_journal(path) if row["step"] <= done])

    def _recorded(self, function: Reward, is_last: bool) -> Reward:
        def recorded(prompts, completions, answer, trainer_state, **rest):
            values = function(prompts=prompts, completions=completions, answer=answer, **rest)
            self._paid[function.__name__] = values
            if is_last:
                self._write(trainer_state.global_step + 1, prompts, completions, answer)
            return values

        recorded.__name__ = function.__name__
        return recorded

    def _write(self, step: int, prompts: list, completions: list, answer: list) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            for place in range(min(self.generations, len(completions))):
                row = {
                    "step": step,
                    "question": prompts[place][-1]["content"],
                    "answer": answer[place],
                    "text": completions[place][0]["content"],
                    "rewards": {name: values[place] for name, values in self._paid.items()},
                }
                file.write(json_line(row))
