"""Generate a batch of completions token by token; a row leaves the batch, and the cache, when it is finished."""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from transformers import AttentionInterface

from harness.engines.attention import shared_heads_attention
from harness.engines.cache import cache_of, columns_to_spread, spread

# From logits [rows, vocabulary] in float32, the rows' numbers in the whole batch [rows], and the step from 0, to the
# next token of each row [rows].
Sampler = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
AttentionInterface.register("sdpa", shared_heads_attention)
# Saving the reading of fewer tokens than these, in all rows together, is not worth a pass of its own.
SHARED_TOKENS = 256


@torch.inference_mode()
def decode(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, sample: Sampler, ends: AbstractSet[int], rooms: Sequence[int]
) -> Iterator[list[tuple[int, list[int]]]]:
    """Yield the completions that finish at a step, as row numbers and token ids with the end token, step by step.

    `ids` and `mask` are [rows, width], padded on the left; a row ends with a token of `ends`, or after as many tokens
    as `rooms` has for it, at least 1. `model` is a causal language model, bare or with a LoRA adapter.
    """
    next_logits = NextLogits(model)
    logits = _after_prompts(next_logits, ids, mask)
    rows, completions = list(range(len(ids))), [[] for _ in ids]
    for step in range(max(rooms)):
        chosen = sample(next_logits(ids, mask) if step else logits, torch.tensor(rows, device=ids.device), step)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            completions[row].append(token)
        ended = {
            place
            for place, row in enumerate(rows)
            if completions[row][-1] in ends or len(completions[row]) == rooms[row]
        }
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        if ended:
            yield [(rows[place], completions[rows[place]]) for place in sorted(ended)]
            staying = _staying(len(rows), ended)
            rows = [rows[place] for place in staying]
            if not rows:
                return
            places = torch.tensor(staying, device=ids.device)
            ids, mask = ids[places], mask[places]
            next_logits.keep(places)


def different_prompts(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ids and masks of different prompts alone, and for each row [rows] where its prompt stands there."""
    both, places = torch.cat([ids, mask], dim=1).unique(dim=0, return_inverse=True)
    return both[:, : ids.shape[1]], both[:, ids.shape[1] :], places


def common_beginning(ids: torch.Tensor, mask: torch.Tensor) -> int:
    """How many tokens all prompts begin with, not counting the last column's."""
    length = min(int(mask.sum(1).min()), ids.shape[1] - 1)
    places = mask.argmax(1)[:, None] + torch.arange(length, device=ids.device)
    beginnings = ids.gather(1, places)
    return int((beginnings == beginnings[0]).all(0).long().cumprod(0).sum())


def reads_from_left(model: Any, takes: Collection[str]) -> bool:
    """Whether a token's keys depend on its position and on the tokens before it alone; `takes` is what `forward` takes.

    Those that tell kinds of tokens apart may read a prompt in both directions (PaliGemma, BERT's kin); code that came
    with a checkpoint is not known.
    """
    in_order = "position_ids" in takes and "token_type_ids" not in takes
    return in_order and not (model.is_remote_code() or rotates_by_length(model.config))


def rotates_by_length(config: Any) -> bool:
    """Whether the same token at the same place has other keys in a longer prompt."""
    parameters = getattr(config.get_text_config(), "rope_parameters", None) or {}
    each_kind = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return any(kind.get("rope_type") in ("dynamic", "longrope") for kind in each_kind)


def _after_prompts(next_logits: "NextLogits", ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The logits of each row's first token; a prompt that several rows have is read once."""
    prompts, masks, places = different_prompts(ids, mask)
    if len(prompts) == len(ids):
        return next_logits(ids, mask)
    logits = next_logits(prompts, masks)
    next_logits.keep(places)
    return logits[places]


def _staying(count: int, ended: AbstractSet[int]) -> list[int]:
    """The places of the rows that stay, the last ones in the gaps, so that those alone move in the cache."""
    left = count - len(ended)
    last = iter([place for place in range(left, count) if place not in ended])
    return [next(last) if place in ended else place for place in range(left)]


class NextLogits:
    """A model with its cache: all token ids so far to the logits of the next one."""

    def __init__(self, model: Any):
        # PEFT's wrapper prepares a model's inputs inside its own generate alone.
        self.model = getattr(model, "get_base_model", lambda: model)()
        takes = inspect.signature(self.model.forward).parameters
        self.cache_name = "cache_params" if "cache_params" in takes else "past_key_values"
        self.takes_positions = "position_ids" in takes
        self.settings = {"use_cache": True, **({"logits_to_keep": 1} if "logits_to_keep" in takes else {})}
        self.cache = cache_of(self.model.config)
        shares = reads_from_left(self.model, takes)
        self.longest_beginning = columns_to_spread(self.cache) if shares else 0
        self.is_first = True

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The logits [rows, vocabulary] in float32. `ids` and `mask` are [rows, width], one column more each call."""
        if not self.is_first:
            return self._read(ids, mask, 1)
        shared = min(common_beginning(ids, mask), self.longest_beginning)
        if (len(ids) - 1) * shared < SHARED_TOKENS:
            return self._read(ids, mask, ids.shape[1])
        starts = mask.argmax(1)
        beginning = slice(int(starts[0]), int(starts[0]) + shared)
        self._read(ids[:1, beginning], mask[:1, beginning], shared)
        spread(self.cache, (torch.arange(shared, device=ids.device) - starts[:, None]).clamp_min(0))
        return self._read(ids, mask, ids.shape[1] - shared)

    def _read(self, ids: torch.Tensor, mask: torch.Tensor, new: int) -> torch.Tensor:
        """The logits behind the last `new` columns; the cache has those before."""
        inputs = self._prepared(ids, mask, new)
        if new < ids.shape[1] and inputs.get(self.cache_name) is None:
            # Phi-3's rotations change at a length, where it drops its cache.
            inputs = self._prepared(ids, mask, ids.shape[1])
        output = self.model(**inputs, return_dict=True)
        self.cache, self.is_first = output[self.cache_name], False
        return output.logits[:, -1].float()

    def _prepared(self, ids: torch.Tensor, mask: torch.Tensor, new: int) -> dict[str, Any]:
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        return self.model.prepare_inputs_for_generation(
            ids,
            next_sequence_length=new,
            attention_mask=mask,
            is_first_iteration=self.is_first,
            **{self.cache_name: self.cache},
            **({"position_ids": positions} if self.takes_positions else {}),
            **self.settings,
        )

    def keep(self, places: torch.Tensor) -> None:
        """Leave only the rows at these places in the cache, in this order; a row may be there more than once."""
        self.cache.reorder_cache(places)
