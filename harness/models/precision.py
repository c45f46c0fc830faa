"""The precision in which a model is loaded: the dtype for a machine and a model, and weights in 4 or 16 bits."""

from importlib.util import find_spec
from typing import Any

from harness.config import Configuration
from harness.errors import UserError
from harness.models import checkpoints

# model_types whose activations are too large for float16; vLLM refuses the first five of them.
OVERFLOWS = frozenset({
    "gemma2", "gemma3", "gemma3_text", "glm4", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gpt_oss",
    "qwen3_5", "qwen3_5_text",
})  # fmt: skip
# Those whose gradients are.
OVERFLOWS_IN_TRAINING = OVERFLOWS | {"qwen3_moe", "glm4_moe", "glm4_moe_lite"}
WHY = "its numbers grow too large for float16, and NaN is all that comes"
SHORT = {"half": "float16", "float": "float32"}


def dtype_of(has_bfloat16: bool | None, model_type: str, asked: str | None = None, trains: bool = False) -> str:
    """The dtype to load a model of that config.json's type in: float32, bfloat16 or float16.

    `has_bfloat16`: whether the GPU computes in it, None if there is no GPU; `asked`: a user's choice. Raises UserError
    if the GPU or the model cannot use it, before any weight is loaded.
    """
    overflows = model_type in (OVERFLOWS_IN_TRAINING if trains else OVERFLOWS)
    dtype = SHORT.get(asked, asked) or {None: "float32", True: "bfloat16", False: "float16"}[has_bfloat16]
    if dtype == "bfloat16" and has_bfloat16 is False:
        raise UserError(
            "--engine-arg dtype=bfloat16: this GPU is older than Ampere and has none: leave it out, or give float32"
        )
    if dtype == "float16" and overflows:
        if asked:
            raise UserError(f"--engine-arg dtype={asked}: not with a {model_type} model ({WHY}): leave it out")
        fix = "train it on another GPU, or another model here" if trains else "give --engine-arg dtype=float32"
        raise UserError(
            f"a {model_type} model needs bfloat16 ({WHY}), which this GPU, older than Ampere, does not have: {fix}"
        )
    return dtype


def gpu_has_bfloat16() -> bool | None:
    """Whether torch's GPU computes in bfloat16 by itself; None if there is no GPU."""
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False) if torch.cuda.is_available() else None


def training_dtype(config: Configuration) -> str:
    """The dtype in which the configured model is trained here. Raises UserError if there is none."""
    return dtype_of(gpu_has_bfloat16(), model_type(config.checkpoint), trains=True)


def model_type(checkpoint: str) -> str:
    return checkpoints.model_config(checkpoint).get("model_type", "")


def why_not_4bit(has_gpu: bool) -> str:
    """What this machine lacks to load weights in 4 bits; empty if it lacks nothing."""
    if not has_gpu:
        return "4-bit weights need a GPU"
    return "" if find_spec("bitsandbytes") else "4-bit weights need bitsandbytes"


def four_bit(dtype: str) -> dict[str, Any]:
    """What from_pretrained takes to round 16-bit weights to bitsandbytes' nf4 on the current GPU."""
    import torch
    from transformers import BitsAndBytesConfig

    return {
        "device_map": {"": torch.cuda.current_device()},
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    }
