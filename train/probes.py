"""Scores of fixed texts by the training's own engines, written beside the adapter for the engine that evaluates it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft.helpers import rescale_adapter_scale

from harness.config import Configuration
from harness.engines import agreement
from harness.engines.agreement import Record, Scores, Text
from harness.errors import cause
from harness.evaluation.prompts import system_text
from harness.models import chat
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from train.training import Training

# Question, reasoning, answer.
EXAMPLES = (
    ("What is 12 + 30?", "First we add the tens, 10 + 30 = 40, then the ones, 40 + 2 = 42.", "42"),
    ("A farmer has 17 sheep and sells 9 of them. How many are left?", "17 - 9 = 8 sheep are left.", "8"),
    ("Tom buys 3 pens at 4 dollars each. How much does he pay?", "3 pens cost 3 * 4 = 12 dollars.", "12"),
    ("How many minutes are in 5 hours?", "An hour has 60 minutes, so 5 hours have 5 * 60 = 300 minutes.", "300"),
)
# The adapter's name for Unsloth, which makes a request of it.
NAME = "fixed_texts"


def write(stage: Training, trainer: Any, folder: Path) -> None:
    """Write the record beside the adapter in `folder`. Raises UserError if the rollouts' engine ran another adapter."""
    texts = fixed_texts(stage.config, stage.tokenizer)
    if not texts:
        return
    trainer_own = trainer_scores(trainer.model, texts)
    rollouts, why = _rollout_scores(stage, trainer, texts)
    if rollouts:
        agreement.refuse_disagreement(
            agreement.compare(trainer_own, rollouts),
            str(folder.with_name("adapter")),
            "train again with --fresh and --set rollouts=generate",
        )
    scores = (trainer_own, rollouts) if rollouts else (trainer_own,)
    agreement.write(folder, Record(texts, scores, {"rollouts": why} if why else {}))


def fixed_texts(config: Configuration, tokenizer: Any) -> tuple[Text, ...]:
    """The examples in the run's own format, of those that fit into max_sequence."""
    format, texts = FORMATS[config.format], []
    for question, reasoning, answer in EXAMPLES:
        prompt = chat.render(tokenizer, formats.messages(question, system_text(config)))
        reply = formats.lay_out(reasoning, answer, format).removeprefix(formats.prompt_prefix(prompt, format))
        start, tokens = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + reply))
        if len(tokens) < config.max_sequence:
            texts.append(Text(tuple(tokens), len(start)))
    return tuple(texts)


@torch.no_grad()
def trainer_scores(model: Any, texts: Sequence[Text]) -> Scores:
    """Scores by a PEFT model, with and without its adapter."""
    model.eval()
    adapter = _token_scores(model, texts)
    with model.disable_adapter():
        base = _token_scores(model, texts)
    return Scores("trainer", str(model.dtype).removeprefix("torch."), base, adapter)


def _token_scores(model: Any, texts: Sequence[Text]) -> tuple[float, ...]:
    values = []
    for text in texts:
        ids = torch.tensor([text.tokens], device=model.device)
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        log_probabilities = logits[0, :-1].float().log_softmax(-1).gather(1, ids[0, 1:, None])
        values += log_probabilities[text.start - 1 :, 0].tolist()
    return tuple(values)


def _rollout_scores(stage: Training, trainer: Any, texts: Sequence[Text]) -> tuple[Scores | None, str]:
    """Scores by the vLLM that the training generated with; None with the reason if it cannot score."""
    if stage.config.rollouts == "generate":
        return None, ""
    if stage.config.rollouts == "server":
        return None, "the server gives no log-probabilities of prompts"
    try:
        scores = unsloth_scores if stage.backend.name == "unsloth" else trl_scores
        return scores(trainer, texts), ""
    except Exception as error:  # other versions of TRL, Unsloth and vLLM have no common error for what they lack
        return None, cause(error)


def trl_scores(trainer: Any, texts: Sequence[Text]) -> Scores:
    """Scores by TRL's own vLLM, which has the adapter merged into its weights."""
    rollouts = trainer.vllm_generation
    rollouts.sync_weights()
    adapter = _token_scores_by_vllm(rollouts.llm, texts)
    with rescale_adapter_scale(trainer.model, 0.0):
        rollouts.sync_weights()
    return Scores("rollouts", _dtype(rollouts.llm), _token_scores_by_vllm(rollouts.llm, texts), adapter)


def unsloth_scores(trainer: Any, texts: Sequence[Text]) -> Scores:
    """Scores by Unsloth's vLLM, which shares the base's weights and is given the adapter with each batch."""
    engine = trainer.model.vllm_engine
    adapter = _token_scores_by_vllm(engine, texts, lora_request=trainer.model.load_lora(NAME, load_tensors=True))
    return Scores("rollouts", _dtype(engine), _token_scores_by_vllm(engine, texts), adapter)


def _token_scores_by_vllm(llm: Any, texts: Sequence[Text], **options: Any) -> tuple[float, ...]:
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": list(text.tokens)} for text in texts]
    parameters = SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0)
    values = []
    for text, output in zip(texts, llm.generate(prompts, parameters, use_tqdm=False, **options), strict=True):
        by_token = zip(text.tokens, output.prompt_logprobs, strict=True)
        values += [each[token].logprob for token, each in list(by_token)[text.start :]]
    return tuple(values)


def _dtype(llm: Any) -> str:
    return str(llm.llm_engine.vllm_config.model_config.dtype).removeprefix("torch.")
