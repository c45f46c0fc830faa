"""TRL's GRPO trainer, with completions that end where the checkpoint's do."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
import trl
from torch.distributed.fsdp import FSDPModule
from transformers import TrainerCallback

from harness.models.turn_ends import without_end


class GrpoTrainer(trl.GRPOTrainer):
    """Stops, masks and counts completions by `ends`, the ids of all tokens that end one.

    TRL does so by the tokenizer's end-of-sequence token alone. The end itself is learnt, nothing after it is. To be
    imported after Unsloth, which replaces TRL's trainer by its own.
    """

    def __init__(self, *, ends: AbstractSet[int], args: trl.GRPOConfig, **values: Any):
        self.ends = ends
        args.generation_kwargs = {"stop_token_ids" if args.use_vllm else "eos_token_id": sorted(ends)}
        super().__init__(args=args, **values)
        self.add_callback(ForwardWithAdapter())

    def _generate_single_turn(self, *inputs: Any, **named: Any) -> tuple[list[list[int]], list | None]:
        completions, logprobs = super()._generate_single_turn(*inputs, **named)
        lengths = [
            next((place + 1 for place, token in enumerate(ids) if token in self.ends), len(ids)) for ids in completions
        ]
        return _cut(completions, lengths), logprobs and _cut(logprobs, lengths)

    def _generate(self, prompts: list) -> tuple:
        # Before generation: Unsloth sets the model to training after it.
        mode = "train" if self.model.training else "eval"
        generated = super()._generate(prompts)
        completion_ids, completions = generated[1], generated[3]
        for completion, ids in zip(completions, completion_ids, strict=True):
            # As the engines decode it, also if the end is no special token.
            completion[0]["content"] = self._tokenizer.decode(without_end(ids, self.ends), skip_special_tokens=True)
        self._count(completion_ids, self._metrics[mode])
        return generated

    def _count(self, completion_ids: list[list[int]], figures: dict[str, list[float]]) -> None:
        """Correct the logged share of cut-off completions and the lengths of the others."""
        device = self.accelerator.device
        cut_off = torch.tensor([ids[-1] not in self.ends for ids in completion_ids], device=device)
        lengths = torch.tensor([len(ids) for ids in completion_ids], device=device)
        cut_off, lengths = self.accelerator.gather(cut_off), self.accelerator.gather(lengths).float()
        ended = lengths.new_zeros(1) if cut_off.all() else lengths[~cut_off]
        figures["completions/clipped_ratio"][-1] = cut_off.float().mean().item()
        for name in ("mean", "min", "max"):
            figures[f"completions/{name}_terminated_length"][-1] = getattr(ended, name)().item()

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        masks, self.mask_truncated_completions = self.mask_truncated_completions, False
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.mask_truncated_completions = masks
        if masks:
            self._mask_cut_off(output)
        return output

    def _mask_cut_off(self, output: dict[str, Any]) -> None:
        """Keep cut-off completions out of the loss."""
        mask, ids = output["completion_mask"], output["completion_ids"]
        last = ids.gather(1, mask.sum(1, keepdim=True).long() - 1)
        ended = torch.isin(last, torch.tensor(sorted(self.ends), device=ids.device))
        output["completion_mask"] = mask * ended
        output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()


class ForwardWithAdapter(TrainerCallback):
    """The first forward pass of a model that FSDP 2 shares out, as it notes then which weights are trained.

    TRL's own first pass is the reference's, for which PEFT takes the adapter away and freezes it: FSDP would find
    nothing to train, and leave the gradients in the type of the computation, which float32 weights refuse.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, model: torch.nn.Module, **_: Any) -> None:
        if isinstance(model, FSDPModule):
            with torch.no_grad():
                model(torch.zeros(1, 1, dtype=torch.long, device=args.device))


def _cut(rows: Sequence[list], lengths: Sequence[int]) -> list[list]:
    return [list(row)[:length] for row, length in zip(rows, lengths, strict=True)]
