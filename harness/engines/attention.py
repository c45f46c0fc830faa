"""Attention of one new token a row without a copy of the keys and values for each head that shares them."""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward


def shared_heads_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' own "sdpa"; where a row has one query, the heads that share a key are taken as its queries.

    `query` is [rows, heads, tokens, size], `key` and `value` have fewer heads and more tokens. The result is
    [rows, tokens, heads, size].
    """
    rows, heads, tokens, size = query.shape
    one_mask = attention_mask is None or attention_mask.shape[1] == 1
    if tokens > 1 or heads == key.shape[1] or not one_mask or settings.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    output = scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], -1, size),
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=settings.get("dropout", 0.0),
        scale=settings.get("scaling"),
    )
    return output.reshape(rows, 1, heads, -1), None
