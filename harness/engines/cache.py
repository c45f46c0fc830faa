"""A cache that does not copy all its keys and values at every token, and at every row that leaves."""

import sys
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

# How many tokens a row may gain before its keys and values move to a new place.
ROOM = 64


def cache_of(config: Any) -> DynamicCache:
    """The empty cache of a model with this configuration, with room in all layers of keys and values."""
    cache = DynamicCache(config=config)
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[number] = LayerWithRoom()
        elif type(layer) is DynamicSlidingWindowLayer:
            cache.layers[number] = SlidingLayerWithRoom(layer.sliding_window)
    return cache


def columns_to_spread(cache: DynamicCache) -> int:
    """How many columns of this cache `spread` can give to several rows: none if a layer has another kind of state."""
    if not all(isinstance(layer, _WithRoom) for layer in cache.layers):
        return 0
    return min([layer.sliding_window - 1 for layer in cache.layers if layer.is_sliding], default=sys.maxsize)


def spread(cache: DynamicCache, places: torch.Tensor) -> None:
    """Give each row the columns at its `places` [rows, columns] of the cache's one row."""
    for layer in cache.layers:
        if layer.is_initialized:
            layer.move(
                [states[0][:, places.to(states.device)].transpose(0, 1) for states in (layer.keys, layer.values)]
            )


class _WithRoom(DynamicLayer):
    """`keys` and `values`, [rows, heads, tokens, size], are views of two larger tensors that hold them up to `end`."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.places, self.end = [self.keys, self.values], 0

    def _append(self, new: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        """Keys and values with the new ones behind them."""
        if not self.is_initialized:
            self.lazy_initialization(*new)
        (rows, _, count, _), kept = new[0].shape, self.keys.shape[2]
        if self.end + count > self.places[0].shape[2]:
            self.places = [_moved(each, kept + count + ROOM) for each in (self.keys, self.values)]
            self.end = kept
        for place, states in zip(self.places, new, strict=True):
            place[:rows, :, self.end : self.end + count] = states
        self.end += count
        return [place[:rows, :, self.end - kept - count : self.end] for place in self.places]

    def move(self, places: list[torch.Tensor]) -> None:
        """Take these keys and values, with no room behind them, in place of the own ones."""
        self.keys, self.values = self.places = places
        self.end = self.keys.shape[2]

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Keep the rows at these places, in this order; a row may be kept more than once."""
        if not self.is_initialized:  # it shares another layer's keys, or the model has no such layer
            return
        if any(to > source for to, source in enumerate(beam_idx.tolist())):
            self.move([each[beam_idx.to(each.device)] for each in (self.keys, self.values)])
            return
        for to, source in enumerate(beam_idx.tolist()):
            if to != source:
                for states in (self.keys, self.values):
                    states[to] = states[source]
        self.keys, self.values = self.keys[: len(beam_idx)], self.values[: len(beam_idx)]


class LayerWithRoom(_WithRoom):
    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple:
        self.keys, self.values = self._append((key_states, value_states))
        return self.keys, self.values


class SlidingLayerWithRoom(_WithRoom, DynamicSlidingWindowLayer):
    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple:
        keys, values = self._append((key_states, value_states))
        self.cumulative_length += key_states.shape[2]
        self.keys, self.values = (each[:, :, -self.sliding_window + 1 :] for each in (keys, values))
        return keys, values


def _moved(states: torch.Tensor, tokens: int) -> torch.Tensor:
    """A tensor with room for so many tokens that starts with these."""
    place = states.new_empty(*states.shape[:2], tokens, states.shape[3])
    place[:, :, : states.shape[2]] = states
    return place
