"""The transformers engine with a model that is in memory already: a notebook's, or one that a trainer holds."""

import copy
import random
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from harness.engines import IN_MEMORY, Setup, whole_number
from harness.engines.decoding import Sampler
from harness.engines.transformers import BATCH_SIZE, TransformersEngine
from harness.errors import UserError
from harness.models import adapter_kinds, chat, model_files, turn_ends
from harness.types import AS_STORED

DEVICES = ("cpu", "cuda")


class InMemoryEngine(TransformersEngine):
    """A given model, with or without the adapter that is on it; `setup.adapter` None: the model as it is."""

    def __init__(self, model: Any, tokenizer: Any, setup: Setup):
        refuse_other_models(model)
        config, generation = model.config.to_dict(), model.generation_config.to_dict()
        self.model, self.checkpoint, self.adapter = model, setup.checkpoint, setup.adapter
        self.device, self.dtype = str(model.device), str(model.dtype).removeprefix("torch.")
        self.weights = weights_of(model)
        self.batch_size = whole_number("batch_size", setup.arguments.get("batch_size", BATCH_SIZE))
        self.tokenizer = _ready(tokenizer, setup)
        self.ends = turn_ends.end_tokens(self.tokenizer, generation, config)
        vocabulary = model_files.language_model(config).get("vocab_size")
        model_files.refuse_another_tokenizer(self.tokenizer, vocabulary, setup.checkpoint)
        turn_ends.give_pad_token(self.tokenizer, self.ends, config)
        self.context = model_files.context_length(config)
        self.provenance = {
            "engine": "transformers",
            "model": f"{setup.checkpoint} ({IN_MEMORY}: {described(model)})",
            "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else self.device,
            "dtype": self.dtype,
            "weights": self.weights,
            "batch_size": self.batch_size,
            **chat.provenance(self.tokenizer),
        }

    def _short_of_memory(self, what: str, fix: str) -> AbstractContextManager:
        return super()._short_of_memory(what, "give a lower batch_size, or free some")

    def _decode(
        self, ids: torch.Tensor, mask: torch.Tensor, sample: Sampler, rooms: Sequence[int]
    ) -> Iterator[list[tuple[int, list[int]]]]:
        if has_unsloths_kernels(self.model):
            return by_generate(self.model, ids, mask, sample, self.ends, rooms)
        return super()._decode(ids, mask, sample, rooms)


class OnlyChosen(LogitsProcessor):
    """Leaves of each row's logits the token alone that a sampler of ours chooses; `width` tokens are the prompt's."""

    def __init__(self, sample: Sampler, width: int):
        self.sample, self.width = sample, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(scores), device=scores.device)
        chosen = self.sample(scores.float(), rows, input_ids.shape[1] - self.width)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


def has_unsloths_kernels(model: Any) -> bool:
    """Whether Unsloth has put its own `forward`, with a cache of its own, into the model's class."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return type(base).forward.__module__.startswith("unsloth")


def by_generate(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, sample: Sampler, ends: AbstractSet[int], rooms: Sequence[int]
) -> Iterator[list[tuple[int, list[int]]]]:
    """As decoding.decode, by the model's own `generate`, in which no row leaves the batch before all have finished.

    A row gets the room of the one with least: Unsloth refuses more than fits behind the longest prompt.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        generated = base.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=min(rooms),
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=min(ends),
            logits_processor=LogitsProcessorList([OnlyChosen(sample, ids.shape[1])]),
        )
    finally:
        base.generation_config = own
    for row, tokens in enumerate(generated[:, ids.shape[1] :].tolist()):
        length = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
        yield [(row, tokens[:length])]


def refuse_other_models(model: Any) -> None:
    """Raise UserError for what is no causal language model of transformers, or no adapter on one, or out of reach."""
    if not all(hasattr(model, name) for name in ("prepare_inputs_for_generation", "generation_config", "device")):
        raise UserError(
            f"{type(model).__name__}: does not generate text: give a transformers model, or a PEFT model on one"
        )
    if model.config.is_encoder_decoder:
        raise UserError(f"{type(model).__name__}: has an encoder of its own: give a causal language model")
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        raise UserError(f"{adapter_of(model)}: learns prompt tokens: give a LoRA adapter")
    if isinstance(model, PeftModel) and (key := adapter_kinds.changes_base(vars(model.active_peft_config))):
        raise UserError(
            f"{adapter_of(model)}: its {key} has changed the base's own weights, so the base cannot be measured: "
            "give a plain LoRA, or the base and the merged model one after the other"
        )
    if model.device.type not in DEVICES:
        raise UserError(f"the model is on the device {model.device}: move it: model.to('cpu'), or to a CUDA GPU")


def _ready(tokenizer: Any, setup: Setup) -> Any:
    """A copy of the tokenizer, or of a processor's, that pads on the left and has the one template for all prompts."""
    text_part = copy.deepcopy(getattr(tokenizer, "tokenizer", tokenizer))
    if not hasattr(text_part, "apply_chat_template"):
        raise UserError(f"{type(tokenizer).__name__}: is no tokenizer with a chat template: give the model's own")
    text_part.chat_template = text_part.chat_template or getattr(tokenizer, "chat_template", None)
    text_part.padding_side = "left"
    chat.settle(text_part, setup.chat_template, setup.switches, setup.checkpoint)
    return text_part


def described(model: Any) -> str:
    """What a report says of a model: its class, and the adapter on it."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    adapter = adapter_of(model)
    return type(base).__name__ + (f" with {adapter}" if adapter else "")


def adapter_of(model: Any) -> str | None:
    """What a report says of the adapter on a model: its name, and its settings; None for a model without one."""
    if not isinstance(model, PeftModel):
        return None
    config = model.active_peft_config
    names = ("r", "lora_alpha", "lora_dropout", "target_modules")
    settings = {name: getattr(config, name) for name in names if hasattr(config, name)}
    if isinstance(modules := settings.get("target_modules"), set | list):
        settings["target_modules"] = " ".join(sorted(modules))
    shown = (f"{name} {value}" for name, value in settings.items())
    return f"adapter {', '.join(model.active_adapters)} ({', '.join((str(config.peft_type.value), *shown))})"


def weights_of(model: Any) -> str:
    """How the base's weights are stored: 4-bit of bitsandbytes, another quantization as stored, or 16-bit and above."""
    if getattr(model, "is_loaded_in_4bit", False):
        return "4-bit"
    return AS_STORED if getattr(model.config, "quantization_config", None) else "16-bit"


@contextmanager
def lent(model: Any) -> Iterator[None]:
    """A model for evaluation. At the end all is as before: what trains, which weights have gradients, random numbers.

    PEFT's switch of an adapter turns the gradients of its weights on; accelerate puts a trainer's mixed precision
    around `forward`, and a model is measured in its own.
    """
    forwards = {name: model.__dict__[name] for name in ("forward", "_original_forward") if name in model.__dict__}
    names = ("training", "gradient_checkpointing")
    flags = [(each, name, getattr(each, name)) for each in model.modules() for name in names if hasattr(each, name)]
    gradients = [(weights, weights.requires_grad) for weights in model.parameters()]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    model.eval()
    if len(forwards) == 2:
        model.forward = forwards["_original_forward"]
    try:
        yield
    finally:
        vars(model).update(forwards)
        for module, name, flag in flags:
            setattr(module, name, flag)
        for weights, had_gradients in gradients:
            weights.requires_grad_(had_gradients)
        for restore, state in zip((random.setstate, np.random.set_state, torch.set_rng_state), states, strict=True):
            restore(state)
        if of_gpus:
            torch.cuda.set_rng_state_all(of_gpus)
