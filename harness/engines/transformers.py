"""The engine that runs everywhere: a transformers model, on the CPU or one GPU."""

import math
import warnings
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from transformers import GenerationConfig, TextStreamer

from harness import registry
from harness.engines import PROBE_CONTINUATION, Finished, OnText, Setup, decoding, effect_of, whole_number
from harness.engines.agreement import ROUNDING, Scores, Text
from harness.engines.sampling import sampler
from harness.errors import UserError, cause
from harness.findings import AdapterEffect
from harness.models import adapter_kinds, adapters, chat, checkpoints, loading, model_files, quantized
from harness.models.faults import lacks_memory, message_of
from harness.models.precision import dtype_of, four_bit, gpu_has_bfloat16, model_type
from harness.types import Completion, Request, Sampling

BATCH_SIZE = "64"
DTYPES = ("float32", "bfloat16", "float16")


class TransformersEngine:
    """One model, with or without an adapter. Arguments: batch_size (replies), dtype, device."""

    def __init__(self, setup: Setup):
        self.checkpoint, self.adapter, self.trust = setup.checkpoint, setup.adapter, setup.trust
        self.device = _device(setup.arguments.get("device"))
        self.weights, dtype = setup.weights, setup.arguments.get("dtype")
        if dtype is not None:
            registry.choose("engine argument dtype", dtype, DTYPES)
        self.batch_size = whole_number("batch_size", setup.arguments.get("batch_size", BATCH_SIZE))
        self.tokenizer = loading.load_tokenizer(setup.checkpoint, setup.chat_template, setup.trust, setup.switches)
        self.ends = loading.end_tokens(setup.checkpoint, self.tokenizer)
        has_bfloat16 = gpu_has_bfloat16() if self.device == "cuda" else None
        self.dtype = dtype_of(has_bfloat16, model_type(setup.checkpoint), dtype)
        config = checkpoints.model_config(setup.checkpoint)
        self.quantized = bool(quantized.method_of(config, setup.checkpoint))
        self.context = model_files.context_length(config)
        self.provenance = {
            "engine": "transformers",
            "device": torch.cuda.get_device_name() if self.device == "cuda" else self.device,
            "dtype": self.dtype,
            "weights": self.weights,
            "batch_size": self.batch_size,
            **chat.provenance(self.tokenizer),
        }

    @cached_property
    @torch.inference_mode(False)
    def model(self) -> Any:
        with self._short_of_memory("the model", "give --engine-arg dtype=bfloat16, or take a smaller model"):
            return self._load_model()

    def _load_model(self) -> Any:
        # Quantized weights are put on the device while they are read: most cannot be moved later.
        placement: dict[str, Any] = {}
        if self.weights == "4-bit":
            placement = four_bit(self.dtype)
        elif self.quantized and self.device != "cpu":
            placement = {"device_map": {"": self.device}}
        model = loading.load_model(self.checkpoint, self.trust, dtype=getattr(torch, self.dtype), **placement).eval()
        if not (placement or self.quantized):
            model = model.to(self.device)
        # A checkpoint's own generation settings (penalties, suppressed tokens) would be filled in silently.
        model.generation_config = GenerationConfig()
        if self.adapter:
            alone = self._base_scores(model)
            model = with_adapter(model, self.adapter).eval()
            model.generation_config = GenerationConfig()
            with model.disable_adapter():
                self._refuse_changed_base(alone, self._base_scores(model))
        return model

    @torch.inference_mode()
    def _base_scores(self, model: Any) -> torch.Tensor:
        """A model's log-probabilities of all tokens behind each of a fixed text's."""
        ids = self.tokenizer(PROBE_CONTINUATION, add_special_tokens=False, return_tensors="pt")["input_ids"]
        return model(ids.to(self.device)).logits.float().log_softmax(-1)

    def _refuse_changed_base(self, alone: torch.Tensor, adapter_off: torch.Tensor) -> None:
        """Raise UserError if loading the adapter has changed what the base says with the adapter off."""
        moved = float((alone - adapter_off).abs().mean())
        if not moved <= ROUNDING[self.dtype]:
            raise UserError(
                f"--adapter {self.adapter}: changes the base itself as it is loaded (by {moved:.2g} nats per token): "
                f"{adapter_kinds.merge(self.adapter, self.checkpoint)}"
            )

    def load(self, requests: Sequence[Request] = (), max_tokens: int = 0) -> None:
        _ = self.model

    @contextmanager
    def _short_of_memory(self, what: str, fix: str) -> Iterator[None]:
        """Raises UserError if `what` does not fit into memory; other errors pass."""
        try:
            yield
        except (RuntimeError, MemoryError, UserError) as error:
            if not lacks_memory(message_of(error)):
                raise
            raise UserError(f"{self.checkpoint}: {what} does not fit into memory ({self.device}): {fix}") from error

    def render(self, messages: list[dict[str, str]]) -> str:
        return chat.render(self.tokenizer, messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Finished]:
        ids = self.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]
        full = [request for request, each in zip(requests, ids, strict=True) if not self._room(each, sampling)]
        if unasked := [(request, request.leave_unasked()) for request in full if request.key not in done]:
            yield unasked
        for adapted in (False, True):
            places = [
                place
                for place, request in enumerate(requests)
                if request.adapted == adapted and self._room(ids[place], sampling)
            ]
            by_length = sorted(places, key=lambda place: len(ids[place]))
            for start in range(0, len(by_length), self.batch_size):
                batch = by_length[start : start + self.batch_size]
                if all(requests[place].key in done for place in batch):
                    continue
                # A batch that a kill cut short is generated whole again: its padding decides the logits' last bits.
                members = [requests[place] for place in batch]
                sample = sampler(members, sampling, self.device)
                for finished in self._finished(members, [ids[place] for place in batch], sampling, sample):
                    if new := [each for each in finished if each[0].key not in done]:
                        yield new

    def _room(self, ids: list[int], sampling: Sampling) -> int:
        """How many tokens a completion of this prompt may have."""
        return max(0, min(sampling.max_tokens, (self.context or math.inf) - len(ids)))

    @torch.inference_mode()
    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect:
        base, adapted, again = (
            [value for request in requests for value in self._log_probabilities(request.prompt, adapter)]
            for adapter in (False, True, False)
        )
        # The two never share a batch.
        return effect_of(base, adapted, again, (base, base), len(requests))

    def _log_probabilities(self, prompt: str, adapted: bool) -> list[float]:
        """Log-probabilities of the tokens of the fixed continuation, natural."""
        tokens = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        whole = self.tokenizer(prompt + PROBE_CONTINUATION, add_special_tokens=False)["input_ids"]
        return self._token_scores(whole, len(tokens), adapted)

    def _token_scores(self, tokens: Sequence[int], start: int, adapted: bool) -> list[float]:
        """The log-probabilities of the tokens from `start` on."""
        ids = torch.tensor([list(tokens)], device=self.device)
        fix = "free some, and the same command continues"
        with self._adapter_on(adapted), self._short_of_memory("a prompt", fix):
            log_probabilities = self.model(ids).logits[0, :-1].float().log_softmax(-1)
        return log_probabilities.gather(1, ids[0, 1:, None])[start - 1 :, 0].tolist()

    @torch.inference_mode()
    def score(self, texts: Sequence[Text]) -> Scores:
        base, adapter = (
            tuple(value for text in texts for value in self._token_scores(text.tokens, text.start, adapted))
            for adapted in (False, True)
        )
        return Scores("transformers", self.dtype, base, adapter)

    def _adapter_on(self, adapted: bool) -> AbstractContextManager:
        return self.model.disable_adapter() if self.adapter and not adapted else nullcontext()

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        ids = self.tokenizer([request.prompt], add_special_tokens=False)["input_ids"]
        if not self._room(ids[0], sampling):
            raise UserError(f"the question is longer than the {self.context} tokens of the model's context: shorten it")
        sample, parts = sampler([request], sampling, self.device), TextParts(self.tokenizer, self.ends, on_text)

        def shown(logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
            tokens = sample(logits, rows, step)
            parts.put(tokens.cpu())
            return tokens

        (((_, completion),),) = self._finished([request], ids, sampling, shown)
        parts.end()
        return completion

    def _finished(
        self, requests: list[Request], ids: list[list[int]], sampling: Sampling, sample: decoding.Sampler
    ) -> Iterator[Finished]:
        """Generate a batch, and yield its completions as they finish."""
        inputs = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
        rooms = [self._room(each, sampling) for each in ids]
        fix = (
            "lower --engine-arg batch_size, and what is generated is kept, or free some and the same command continues"
        )
        with self._adapter_on(requests[0].adapted), self._short_of_memory(f"a batch of {len(requests)}", fix):
            for ended in self._decode(inputs["input_ids"], inputs["attention_mask"], sample, rooms):
                yield [(requests[row], self._complete(requests[row], tokens)) for row, tokens in ended]

    def _decode(
        self, ids: torch.Tensor, mask: torch.Tensor, sample: decoding.Sampler, rooms: Sequence[int]
    ) -> Iterator[list[tuple[int, list[int]]]]:
        return decoding.decode(self.model, ids, mask, sample, self.ends, rooms)

    def _complete(self, request: Request, tokens: list[int]) -> Completion:
        stopped = tokens[-1] in self.ends
        text = self.tokenizer.decode(tokens[:-1] if stopped else tokens, skip_special_tokens=True)
        return request.complete(text, len(tokens), "stop" if stopped else "length")


def _device(name: str | None) -> str:
    best = "cuda" if torch.cuda.is_available() else "cpu"
    return registry.choose("engine argument device", name or best, {"cpu", best})


def with_adapter(model: Any, adapter: str) -> Any:
    """The model with an adapter on it.

    Raises UserError if the two do not go together, or the adapter's weights are not finite.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    adapters.check_expressions(adapter, [name for name, _ in model.named_modules()])
    try:
        with warnings.catch_warnings(action="ignore"):  # keys that fit nowhere show in the adapter's effect
            adapted = PeftModel.from_pretrained(model, adapter)
    except (*loading.LOADING_ERRORS, SafetensorError) as error:
        raise UserError(
            f"--adapter {adapter}: does not go with this model ({cause(error)}): give its own adapter"
        ) from error
    if not all(bool(torch.isfinite(value).all()) for name, value in adapted.named_parameters() if "lora_" in name):
        raise UserError(f"--adapter {adapter}: holds NaN or infinity: train it again with a lower learning_rate")
    return adapted


class TextParts(TextStreamer):
    """Hands on the completion as it is generated, without the prompt, its end and special tokens."""

    def __init__(self, tokenizer, ends: AbstractSet[int], on_text: OnText):
        super().__init__(tokenizer, skip_special_tokens=True)
        self.ends, self.on_text = ends, on_text

    def put(self, value: torch.Tensor) -> None:
        if value.item() not in self.ends:
            super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.on_text(text)
