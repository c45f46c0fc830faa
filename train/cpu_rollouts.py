"""Plain TRL's rollouts on a CPU: by the loop that evaluates too, with the adapter merged while they are generated."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from trl.models import unwrap_model_for_generation

from harness.engines.decoding import decode
from harness.engines.sampling import SampleAt
from harness.types import Sampling
from train.grpo_trainer import GrpoTrainer
from train.shared_prompts import SharedPrompts


class CpuGrpoTrainer(GrpoTrainer):
    """Generates with `decode` in place of model.generate, which goes on with finished rows and copies its cache.

    The random numbers are torch's, whose state a checkpoint keeps.
    """

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        inputs = self._tokenizer.pad({"input_ids": prompt_ids}, padding_side="left", return_tensors="pt")
        rooms = [self.max_completion_length] * len(prompt_ids)
        with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model, _generating(model):
            steps = decode(
                model, inputs["input_ids"], inputs["attention_mask"], self._sampler(len(rooms)), self.ends, rooms
            )
            finished = dict(chain.from_iterable(steps))
        return [finished[row] for row in range(len(rooms))], None

    def _get_per_token_logps_and_entropies(self, model: Any, *inputs: Any, **named: Any) -> tuple:
        # Of several processes each wraps its model to exchange gradients, once a forward pass.
        alone = self.accelerator.num_processes == 1 and not self.args.gradient_checkpointing
        shares = alone and "logits_to_keep" in self.model_kwarg_keys
        return super()._get_per_token_logps_and_entropies(SharedPrompts(model) if shares else model, *inputs, **named)

    def _sampler(self, rows: int) -> SampleAt:
        sampling = Sampling(
            n=1,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p or 0.0,
            max_tokens=self.max_completion_length,
            seed=self.args.seed,
        )
        return SampleAt(torch.rand(rows, sampling.max_tokens, dtype=torch.float64), sampling)


@contextmanager
def _generating(model: Any) -> Iterator[None]:
    """Run a model without dropout, and with its adapter added to copies of the weights; then it is as it was."""
    trains = model.training
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    try:
        model.eval()
        for layer, weight in zip(layers, weights, strict=True):
            # Not into the weight itself, which another layer may share, and which no subtraction restores.
            layer.get_base_layer().weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)
            layer.merge()
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.get_base_layer().weight = weight
            layer.merged_adapters.clear()
        model.train(trains)
