"""Problems -> the rows that TRL trains on, none longer than the recipe allows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.config import Configuration
from harness.data import overlap
from harness.data.datasets import held_out_problems
from harness.errors import UserError
from harness.evaluation.prompts import system_text
from harness.models import chat
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from harness.types import Dataset


@dataclass(frozen=True)
class Prompts:
    """GRPO's rows {prompt, answer}: those to train on, and those held out to measure the accuracy on.

    `max_prompt` and `max_completion` are in tokens; `too_long` prompts were left out; `probe` is one of them, rendered.
    """

    rows: list[dict]
    held_out: list[dict]
    max_prompt: int
    max_completion: int
    too_long: int
    probe: str


@dataclass(frozen=True)
class Lessons:
    """SFT's rows {input_ids}; `too_long` ones were left out, `rewritten` have another text than the chat template
    gives."""

    rows: list[dict]
    too_long: int
    rewritten: int


def prompts_of(config: Configuration, dataset: Dataset, tokenizer: Any) -> Prompts:
    """The prompts that fit into `max_prompt` tokens, or into the quantile of their lengths if that is not given."""
    system = system_text(config)
    rows = [
        {"prompt": formats.messages(problem.question, system), "answer": problem.answer} for problem in dataset.problems
    ]
    rendered = [chat.render(tokenizer, row["prompt"]) for row in rows]
    lengths = [len(ids) for ids in _token_ids(rendered, tokenizer)]
    limit = config.max_prompt or int(np.quantile(lengths, config.prompt_quantile))
    completion = config.max_completion or config.max_sequence - (limit + 1)
    fitting = [row for row, length in zip(rows, lengths, strict=True) if length <= limit]
    if completion < 1 or limit + completion > config.max_sequence:
        raise UserError(
            f"max_sequence = {config.max_sequence} has no room for completions of {max(completion, 1)} tokens behind "
            f"prompts of {limit}: raise it, or lower max_completion or max_prompt"
        )
    probed = held_out_problems(config, dataset) if config.eval_every else []
    probed_questions = {overlap.normalised(problem.question) for problem in probed}
    held_out = [row for row in fitting if _question(row) in probed_questions]
    trained = [row for row in fitting if _question(row) not in probed_questions]
    if len(trained) < config.prompts_per_step:
        raise UserError(
            f"{config.dataset}: {len(trained)} of {len(rows)} training prompts are left ({len(rows) - len(fitting)} do "
            f"not fit into max_prompt = {limit} tokens, {len(held_out)} are eval_problems), a step needs "
            f"{config.prompts_per_step}: raise max_prompt, lower eval_problems or give a larger dataset"
        )
    if config.eval_every and not held_out:
        raise UserError(
            f"{config.dataset}: none of the {config.eval_problems} eval_problems fits into max_prompt = {limit} "
            "tokens: raise eval_problems or max_prompt, or leave eval_every out"
        )
    return Prompts(
        trained, held_out, limit, completion, len(rows) - len(fitting), chat.render(tokenizer, trained[0]["prompt"])
    )


def _question(row: dict) -> str:
    return overlap.normalised(row["prompt"][-1]["content"])


def solutions_of(config: Configuration, lessons: Dataset, tokenizer: Any) -> Lessons:
    """SFT's rows of the worked solutions, without those of more than half of `max_sequence` tokens.

    They are tokenized here, as TRL would add special tokens to those of the chat template.
    """
    system, format, end = system_text(config), FORMATS[config.format], chat.end_of_turn(tokenizer)
    texts, rewritten = [], 0
    for lesson in lessons.problems:
        messages = formats.messages(lesson.question, system)
        reply = formats.lay_out(lesson.solution, lesson.answer, format)
        texts.append(chat.lesson(tokenizer, messages, reply, format, end))
        rewritten += chat.answered(tokenizer, messages, reply) != texts[-1]
    rows = [{"input_ids": ids} for ids in _token_ids(texts, tokenizer)]
    kept = [row for row in rows if len(row["input_ids"]) <= config.max_sequence // 2]
    if len(kept) < config.sft_batch:
        raise UserError(
            f"{config.sft_dataset}: {len(kept)} of {len(rows)} worked solutions fit into half of max_sequence = "
            f"{config.max_sequence} tokens, a step needs {config.sft_batch}: raise max_sequence, or --skip-sft"
        )
    return Lessons(kept, len(rows) - len(kept), rewritten)


def _token_ids(texts: list[str], tokenizer: Any) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
