"""A forward pass that reads a prompt once for all its completions; a group of GRPO shares one."""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

from harness.engines.decoding import different_prompts, rotates_by_length


class SharedPrompts:
    """A causal language model as TRL calls it: logits of each row's last prompt token and of its completion's tokens.

    Differentiable, and the same as the model's own but for rounding. The model must not checkpoint its gradients, for
    which transformers drops the cache.
    """

    def __init__(self, model: Any):
        self.model = model

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int, **others: Any
    ) -> CausalLMOutputWithPast:
        """The output with logits [rows, `logits_to_keep`, vocabulary]; `input_ids` and `attention_mask` are
        [rows, width], prompts padded on the left and completions on the right."""
        width = input_ids.shape[1] - logits_to_keep + 1
        prompts, masks, places = different_prompts(input_ids[:, :width], attention_mask[:, :width])
        config = self.model.config
        cache = DynamicCache(config=config)
        apart = len(prompts) == len(input_ids) or rotates_by_length(config) or not _keeps_all(cache)
        if apart or others.keys() - {"use_cache"}:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep, **others
            )
        first = self.model(
            input_ids=prompts, attention_mask=masks, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        cache.reorder_cache(places)
        rest = self.model(
            input_ids=input_ids[:, width:], attention_mask=attention_mask, past_key_values=cache, use_cache=True
        )
        # Not by indexing, whose gradients threads add up in the order in which they come.
        return CausalLMOutputWithPast(logits=torch.cat([first.logits.index_select(0, places), rest.logits], dim=1))


def _keeps_all(cache: DynamicCache) -> bool:
    """Whether gradients flow through the cache: keys and values alone, no states that are overwritten."""
    return {type(layer) for layer in cache.layers} <= {DynamicLayer, DynamicSlidingWindowLayer}
