"""Checkpoints whose weights are stored quantized: which library reads them, and whether a LoRA can be trained on them.

The methods are those of transformers/quantizers. vLLM has its own kernels for most of them and reports itself what it
lacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from harness.errors import UserError
from harness.models.model_files import language_model

BITSANDBYTES = "bitsandbytes"
FIX = "give the model's 16-bit checkpoint"


@dataclass(frozen=True)
class Method:
    """What transformers needs for a method: `libraries` with their names for pip; and whether a LoRA trains on it."""

    libraries: Mapping[str, str]
    needs_gpu: bool = False
    trains: bool = True


METHODS = {
    "aqlm": Method({"aqlm": "aqlm"}),
    "auto-round": Method({"auto_round": "auto-round"}, trains=False),
    "awq": Method({"gptqmodel": "gptqmodel"}),
    "bitnet": Method({}, trains=False),
    BITSANDBYTES: Method({"bitsandbytes": "bitsandbytes"}),
    "compressed-tensors": Method({"compressed_tensors": "compressed-tensors"}),
    "eetq": Method({"kernels": "kernels"}, needs_gpu=True),
    "fbgemm_fp8": Method({"fbgemm_gpu": "fbgemm-gpu"}, needs_gpu=True, trains=False),
    "fouroversix": Method({"fouroversix": "fouroversix"}, trains=False),
    "fp8": Method({}, trains=False),
    "fp_quant": Method({"fp_quant": "fp_quant"}, needs_gpu=True, trains=False),
    "gemma": Method({}, trains=False),
    "gptq": Method({"optimum": "optimum", "gptqmodel": "gptqmodel"}),
    "higgs": Method(
        {"flute": "flute-kernel", "fast_hadamard_transform": "fast_hadamard_transform"}, needs_gpu=True, trains=False
    ),
    "hqq": Method({"hqq": "hqq"}),
    "metal": Method({}, trains=False),
    "mxfp4": Method({}, trains=False),
    "mxfp8": Method({}, trains=False),
    "quanto": Method({"optimum": "optimum-quanto"}),
    "quark": Method({"quark": "amd-quark"}, trains=False),
    "sinq": Method({"sinq": "sinq"}),
    "spqr": Method({"spqr_quant": "spqr_quant"}, needs_gpu=True, trains=False),
    "torchao": Method({"torchao": "torchao"}),
    "vptq": Method({"vptq": "vptq"}, needs_gpu=True, trains=False),
}


def is_quantized(config: Mapping[str, Any]) -> bool:
    """Whether weights are stored quantized, by a config.json."""
    return language_model(config).get("quantization_config") is not None


def method_of(config: Mapping[str, Any], where: str) -> str:
    """The method by which weights are quantized, from a config.json; '' if they are not.

    Raises UserError if transformers does not know it: it would fill in what it does not understand at random.
    """
    if not is_quantized(config):
        return ""
    settings = language_model(config)["quantization_config"]
    if not isinstance(settings, dict):
        raise UserError(f"{where}: config.json: quantization_config is not a JSON object: copy the file again")
    name = BITSANDBYTES if _is_bitsandbytes(config) else settings.get("quant_method")
    if not isinstance(name, str) or name not in METHODS:
        how = "without quant_method" if name is None else f"by {name}"
        raise UserError(f"{where}: its weights are quantized {how}, which transformers does not read: {FIX}")
    return name


def _is_bitsandbytes(config: Mapping[str, Any]) -> bool:
    """Whether weights are in bitsandbytes' format. Early checkpoints do not name it; transformers reads these keys."""
    settings = language_model(config).get("quantization_config")
    return isinstance(settings, dict) and (
        settings.get("quant_method") == BITSANDBYTES or any(settings.get(f"load_in_{bits}bit") for bits in (4, 8))
    )


def check(config: Mapping[str, Any], where: str, engine: str, trains: bool) -> None:
    """Raise UserError if the engine cannot load these weights here or, with `trains`, cannot train a LoRA on them."""
    if engine == "vllm" and not trains and not _is_bitsandbytes(config):
        return
    name = method_of(config, where)
    if not name:
        return
    method = METHODS[name]
    missing = [pip for module, pip in method.libraries.items() if find_spec(module) is None]
    if missing:
        raise UserError(
            f"{where}: its weights are quantized by {name}, which needs {' and '.join(missing)}: pip install "
            f"{' '.join(missing)}, or {FIX}"
        )
    if trains and not method.trains:
        raise UserError(f"{where}: no LoRA can be trained on weights quantized by {name}: {FIX}")
    if method.needs_gpu and not _has_gpu():
        raise UserError(f"{where}: weights quantized by {name} need a GPU, PyTorch finds none: {FIX}, or run it on one")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
