"""The base must not change: checksums of its weights before and after training, and merges that are undone exactly."""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch.distributed.fsdp import FSDPModule

from harness.errors import UserError

# Weights that are summed at once.
CHUNK = 2**22


@torch.no_grad()
def checksums(model: Any) -> dict[str, int]:
    """Checksums of the weights that are not trained, by name: any bit changes the sum, a wider type does not."""
    return {
        name: _checksum(parameter)
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad and "lora_" not in name and parameter.device.type != "meta"
    }


def _checksum(parameter: torch.Tensor) -> int:
    flat = parameter.data.reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        bits = chunk.float().view(torch.int32) if chunk.is_floating_point() else chunk
        # The sum wraps around; with odd factors no single change is lost in it.
        places = torch.arange(1, 2 * len(bits), 2, device=flat.device)
        total += (bits.long() * places).sum()
    return int(total)


def check_unmoved(before: dict[str, int], model: Any) -> None:
    """Raises UserError if a weight that was not trained has changed."""
    now = checksums(model)
    moved = [name for name, value in before.items() if now.get(name, value) != value]
    if moved:
        raise UserError(
            f"the base itself changed in training ({len(moved)} of {len(before)} frozen weights, the first is "
            f"{moved[0]}), so the adapter does not belong to the checkpoint that is measured: train it again with "
            "--fresh and --set rollouts=generate or another --trainer"
        )


def restore_after_merges(model: Any) -> None:
    """Make a PEFT model's unmerge_adapter() restore the weights from before merge_adapter().

    PEFT subtracts what it has added, which 16-bit rounding does not undo: after 300 merges of a growing adapter half of
    the embedded model's weights were others, by a fifth of the adapter. The copies take host memory once. Weights that
    FSDP 2 has whole behind a pass without a backward one are shared out first: what is merged into those is lost.
    """
    tuner = model.base_model
    merge, unmerge, saved = tuner.merge_adapter, tuner.unmerge_adapter, {}

    def merge_adapter(*arguments: Any, **options: Any) -> None:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and layer not in saved:
                weight = layer.get_base_layer().weight
                # A merge into 4-bit weights makes new ones and leaves these as they are.
                saved[layer] = weight if hasattr(weight, "quant_state") else weight.data.to("cpu", copy=True)
        merge(*arguments, **options)

    def unmerge_adapter() -> None:
        unmerge()
        for layer, weight in saved.items():
            base = layer.get_base_layer()
            if hasattr(weight, "quant_state"):
                base.weight = weight
            else:
                base.weight.data.copy_(weight)

    tuner.merge_adapter, tuner.unmerge_adapter = merge_adapter, unmerge_adapter
