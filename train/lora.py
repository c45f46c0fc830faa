"""What must hold of an adapter before anything trusts it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

from harness.adapters import NOT_LANGUAGE, WEIGHTS
from harness.errors import UserError


def check_trained(folder: Path) -> dict[str, int]:
    """Counts the lora_B tensors and those that training moved; a UserError where none moved or one is not finite."""
    tensors = load_file(folder / WEIGHTS)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise UserError("the trained adapter holds NaN or infinity: lower learning_rate, then --fresh")
    moved = [bool(tensor.any()) for name, tensor in tensors.items() if "lora_B" in name]
    if not any(moved):
        raise UserError(
            f"training left all {len(moved)} lora_B at zero, as no completion earned more than the others of its "
            "group: raise generations, steps or learning_rate, or choose other rewards"
        )
    return {"lora_b": len(moved), "lora_b_trained": sum(moved)}


def check_targets(folder: Path, targets: Sequence[str]) -> None:
    """A UserError where an adapter's layers are not all of `targets` and no others, in the language model alone."""
    names = [name.partition(".lora_B")[0] for name in load_file(folder / WEIGHTS) if "lora_B" in name]
    found = {name.rpartition(".")[2] for name in names}
    if found != set(targets) or any(part in name for name in names for part in NOT_LANGUAGE):
        raise UserError(
            f"the trained adapter's layers ({', '.join(sorted(found))}) are not lora_targets in the language model: "
            "mend lora_targets"
        )


@torch.no_grad()
def logit_difference(model: Any, folder: Path, tokenizer: Any, prompt: str) -> float:
    """The largest difference of the next token's logits with and without the adapter, as it is loaded back.

    A UserError where it is 0, or where the file does not go back into the model.
    """
    unknown = set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu")).unexpected_keys
    if unknown:
        raise UserError(f"the trained adapter does not load back ({unknown[0]}): train it with --trainer trl")
    model.eval()
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).to(model.device)
    adapted = model(**inputs).logits[0, -1].float()
    with model.disable_adapter():
        base = model(**inputs).logits[0, -1].float()
    difference = float((adapted - base).abs().max())
    if difference == 0.0:
        raise UserError("training changed nothing that the model says: raise learning_rate or steps")
    return difference
