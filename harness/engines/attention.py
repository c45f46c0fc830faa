"""Attention on the CPU without a copy of the keys and values for each head that shares them."""

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
    """As transformers' own "sdpa", which on a CPU would copy shared keys and values wherever there is a mask.

    `query` is [rows, heads, tokens, size], `key` and `value` have fewer heads and more tokens. The result is
    [rows, tokens, heads, size], to the last bit as from copied keys.
    """
    copies = query.device.type == "cpu" and query.shape[1] > key.shape[1] and attention_mask is not None
    trains = any(each.requires_grad for each in (query, key, value))
    if not copies or trains or settings.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    attended = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=settings.get("dropout", 0.0),
        scale=settings.get("scaling"),
        enable_gqa=True,
    )
    return attended.transpose(1, 2).contiguous(), None
