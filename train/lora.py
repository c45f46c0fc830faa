"""What must hold of an adapter before anything trusts it."""

from pathlib import Path
from typing import Any

import torch
from peft import load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

from harness.adapters import NOT_LANGUAGE, WEIGHTS
from harness.config import Configuration
from harness.errors import UserError


def check_saved(folder: Path, config: Configuration) -> dict[str, int]:
    """Counts the lora_B tensors and those that training moved.

    A UserError where none moved, one is not finite, or they are not of the recipe's targets, all of them and no others.
    """
    tensors = load_file(folder / WEIGHTS)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise UserError("the trained adapter holds NaN or infinity: lower learning_rate, then --fresh")
    trained = {name: bool(tensor.any()) for name, tensor in tensors.items() if "lora_B" in name}
    targets = {name.partition(".lora_B")[0].rpartition(".")[2] for name in trained}
    if targets != set(config.lora_targets) or any(part in name for name in trained for part in NOT_LANGUAGE):
        raise UserError(
            f"the trained adapter's layers ({', '.join(sorted(targets))}) are not lora_targets in the language model: "
            "mend lora_targets"
        )
    if not any(trained.values()):
        raise UserError(f"training left all {len(trained)} lora_B at zero: raise learning_rate or steps")
    return {"lora_b": len(trained), "lora_b_trained": sum(trained.values())}


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
