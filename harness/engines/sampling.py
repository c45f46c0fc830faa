"""Choose the next tokens of a batch: the likeliest, or by random numbers that belong to a completion's place."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers.generation import logits_process

from harness.engines import random_key
from harness.engines.decoding import Sampler
from harness.types import Request, Sampling

# Words whose probabilities are added up before one of them is looked for.
BLOCK = 256


def sampler(requests: Sequence[Request], sampling: Sampling, device: str) -> Sampler:
    """What chooses the tokens of a batch of requests, by row and step.

    Row i, step t uses the t-th number of a Philox stream keyed by its request's (seed, problem, index).
    """
    if sampling.temperature == 0:
        return lambda logits, rows, step: logits.argmax(-1)
    uniform = np.stack([_stream(request).random(sampling.max_tokens) for request in requests])
    return SampleAt(torch.from_numpy(uniform).to(device), sampling)


class SampleAt:
    """Sample by inverting the cumulative distribution at given random numbers, one for each token.

    Row i, step t uses `uniform` [rows, steps] at [i, t], so a completion does not depend on which others share its
    batch.
    """

    def __init__(self, uniform: torch.Tensor, sampling: Sampling):
        self.uniform, self.temperature, self.top_k = uniform, sampling.temperature, sampling.top_k
        self.cuts = []
        if sampling.top_p < 1:
            self.cuts.append(logits_process.TopPLogitsWarper(sampling.top_p))
        if sampling.min_p:
            self.cuts.append(logits_process.MinPLogitsWarper(sampling.min_p))

    def __call__(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        scores, words = logits / self.temperature, None
        if self.top_k:
            scores, words = likeliest(scores, self.top_k)
        for cut in self.cuts:
            scores = cut(None, scores)
        chosen = invert(scores, self.uniform[rows, step])
        return chosen if words is None else words.gather(1, chosen[:, None])[:, 0]


def likeliest(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` highest scores of each row, and all that equal the last of them, with their words in order.

    Both are [rows, as many as the row with most has]; others in between have a score of -inf.
    """
    least = scores.topk(min(count, scores.shape[1])).values[:, -1:]
    most = int((~(scores < least)).sum(-1).max())
    words = scores.topk(most).indices.sort().values
    chosen = scores.gather(1, words)
    return chosen.masked_fill(chosen < least, -torch.inf), words


def invert(scores: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The words [rows] at which softmax(scores), added up in order, first exceeds `uniform` [rows] of the whole.

    `scores` are [rows, words]. The sum of each block of words is enough to find the block.
    """
    weights = scores.double().softmax(-1)
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    sums = blocks.sum(-1).cumsum(-1)
    targets = uniform[:, None] * sums[:, -1:]
    block = _first_above(sums, targets)
    before = sums.gather(1, (block - 1).clamp_min(0)).masked_fill(block == 0, 0.0)
    inside = blocks[torch.arange(len(blocks), device=block.device), block[:, 0]].cumsum(-1) + before
    return (block * BLOCK + _first_above(inside, targets))[:, 0]


def _first_above(cumulative: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Where a row first exceeds its target, [rows, 1]; where it reaches its end if rounding lets it exceed nowhere."""
    end = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())
    return torch.searchsorted(cumulative, targets, right=True).minimum(end).clamp_max(cumulative.shape[1] - 1)


def _stream(request: Request) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=int.from_bytes(random_key(request)[:16], "big")))
