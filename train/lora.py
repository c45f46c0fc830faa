"""Checks of a trained adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

from harness.errors import UserError
from harness.models.adapters import NOT_LANGUAGE, WEIGHTS, keys_zero_at_first


def check_targets(model: Any, targets: Sequence[str]) -> None:
    """Raises UserError if a PEFT model does not train exactly the layers `targets`, in the language model alone."""
    names = [name.partition(".lora_B")[0] for name, _ in model.named_parameters() if "lora_B" in name]
    trained = {name.rpartition(".")[2] for name in names}
    if trained != set(targets) or any(part in name for name in names for part in NOT_LANGUAGE):
        raise UserError(
            f"lora_targets = {', '.join(targets)}: the layers of the language model that have these names are "
            f"{', '.join(sorted(trained))}: fix lora_targets"
        )


def check_trained(folder: Path, start: Path | None = None) -> dict[str, int]:
    """Count the tensors that were zero before training (lora_B) and those that it changed, from zero or from `start`.

    `start` is the folder of an earlier adapter. Raises UserError if none changed or a tensor is not finite.
    """
    tensors = load_file(folder / WEIGHTS)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise UserError("the trained adapter holds NaN or infinity: lower learning_rate, then --fresh")
    before = load_file(start / WEIGHTS) if start else {}
    moved = [
        not torch.equal(tensors[key], before.get(key, torch.zeros_like(tensors[key])))
        for key in keys_zero_at_first(tensors)
    ]
    if moved and not any(moved):
        raise UserError(
            f"training left all {len(moved)} lora_B at {'what SFT had made of them' if start else 'zero'}, as no "
            "completion earned more than the others of its group: raise generations, steps or learning_rate, or "
            "choose other rewards"
        )
    return {"lora_b": len(moved), "lora_b_trained": sum(moved)}


@torch.no_grad()
def logit_difference(model: Any, folder: Path, tokenizer: Any, prompt: str) -> float:
    """The largest difference of the next token's logits with and without the adapter, as it is loaded back.

    Raises UserError if it is 0, or if the file does not have exactly the model's adapter weights.
    """
    stored, expected = load_peft_weights(str(folder), device="cpu"), get_peft_model_state_dict(model)
    if stored.keys() != expected.keys():
        odd = sorted(stored.keys() ^ expected.keys())[0]
        raise UserError(f"the trained adapter does not load back ({odd}): train it with --trainer trl")
    set_peft_model_state_dict(model, stored)
    model.eval()
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).to(model.device)
    adapted = model(**inputs).logits[0, -1].float()
    with model.disable_adapter():
        base = model(**inputs).logits[0, -1].float()
    difference = float((adapted - base).abs().max())
    if difference == 0.0:
        raise UserError("training changed nothing that the model says: raise learning_rate or steps")
    return difference
