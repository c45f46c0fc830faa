"""What must hold of an adapter before anything trusts it."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness.adapters import WEIGHTS
from harness.errors import UserError


def check_trained(folder: Path) -> dict[str, int]:
    """Counts the lora_B tensors and those that training moved; a UserError where none moved or one is not finite."""
    tensors = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if "lora_B" in name}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise UserError("the trained adapter holds NaN or infinity: lower learning_rate, then --fresh")
    moved = sum(bool(tensor.any()) for tensor in tensors.values())
    if not moved:
        raise UserError(f"training left all {len(tensors)} lora_B at zero: raise learning_rate or steps")
    return {"lora_b": len(tensors), "lora_b_trained": moved}


@torch.no_grad()
def logit_difference(model: Any, tokenizer: Any, prompt: str) -> float:
    """The largest difference of the next token's logits with and without the adapter; a UserError where it is 0."""
    model.eval()
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).to(model.device)
    adapted = model(**inputs).logits[0, -1].float()
    with model.disable_adapter():
        base = model(**inputs).logits[0, -1].float()
    difference = float((adapted - base).abs().max())
    if difference == 0.0:
        raise UserError("training changed nothing that the model says: raise learning_rate or steps")
    return difference
