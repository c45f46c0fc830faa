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
    """transformers' own "sdpa"; on the CPU, one query a row takes each share of the heads in turn.

    `query` is [rows, heads, tokens, size], `key` and `value` have fewer heads and more tokens. The result is
    [rows, tokens, heads, size], to the last bit as from copied keys.
    """
    rows, heads, tokens, _ = query.shape
    one_mask = attention_mask is None or attention_mask.shape[1] == 1
    copies = query.device.type == "cpu" and tokens == 1 and heads > key.shape[1]
    if not (copies and one_mask) or settings.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    shares = [
        scaled_dot_product_attention(
            share,
            key,
            value,
            attn_mask=attention_mask,
            dropout_p=settings.get("dropout", 0.0),
            scale=settings.get("scaling"),
        )
        for share in query.unflatten(1, (key.shape[1], -1)).unbind(2)
    ]
    return torch.stack(shares, 2).reshape(rows, 1, heads, -1), None
