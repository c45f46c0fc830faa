"""vLLM's engine arguments: what the machine, the model and the adapter need, then the user's, then the run's.

Imported behind what harness.engines.vllm sets in the environment.
"""

import dataclasses
import json
import os
from itertools import pairwise
from typing import Any

import torch
from vllm import EngineArgs
from vllm.platforms import current_platform

from harness import registry
from harness.engines import Setup, gpus, vllm_adapters, whole_number
from harness.errors import UserError
from harness.models import adapters, checkpoints
from harness.models.precision import dtype_of, model_type

OURS = {"model", "seed", "enable_lora", "tokenizer", "trust_remote_code", "hf_token"}
ON_GPU = current_platform.is_cuda_alike()
# An evaluation's batches are large, so on a card of a data centre's size more replies are generated at once than vLLM's
# 1,024, all steps run as CUDA graphs (vLLM's own end at 512), and a third as many graphs are there 9 s earlier.
LARGE_GPU_BYTES, LARGE_BATCH = 70 * 2**30, 1536
GRAPH_SIZES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536)
OF_GRAPHS = {"compilation_config", "max_cudagraph_capture_size"}
OF_COMPILING = {*OF_GRAPHS, "cudagraph_capture_sizes", "enforce_eager", "optimization_level"}
# Arguments that we compute with.
COUNTS = ("max_num_seqs", "max_lora_rank", *gpus.PARALLEL)
# What vLLM's CPU build needs for small models.
CPU_DEFAULTS = {"block_size": 128, "dtype": "float32", "gpu_memory_utilization": 0.4}


def settings_of(setup: Setup) -> dict[str, Any]:
    """vLLM's engine arguments: what the model and the adapter need, then the user's, then the run's."""
    adapter = setup.adapter
    settings: dict[str, Any] = _gpu_defaults() if ON_GPU else dict(CPU_DEFAULTS)
    if OF_GRAPHS & setup.arguments.keys():
        # vLLM refuses sizes of graphs from two places.
        settings.pop("cudagraph_capture_sizes", None)
    if adapters.is_wrapper(setup.checkpoint):
        # Prompts are text: no attention from image to image, which few of vLLM's kernels can do.
        settings |= {"limit_mm_per_prompt": {"image": 0}, "hf_overrides": {"is_mm_prefix_lm": False}}
    if adapter:
        # The CPU build gives the last slot's adapter to the base's requests in a mixed batch
        # (vllm-project/vllm#48421), so there the last slot stays empty.
        slots = 1 if ON_GPU else 2
        room = vllm_adapters.room_for(adapters.rank(adapter), adapter)
        vllm_adapters.check(adapter, room)
        settings |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": room}
    arguments = {field.name for field in dataclasses.fields(EngineArgs)} - OURS
    for name, text in setup.arguments.items():
        if name.startswith("data_parallel"):
            raise UserError(f"--engine-arg {name}: give data_parallel_size=N alone, for N replicas on this machine")
        settings[registry.choose("engine argument", name, arguments)] = value_of(text)
    for name in filter(settings.__contains__, COUNTS):
        settings[name] = whole_number(name, str(settings[name]))
    if adapter and settings["max_lora_rank"] < adapters.rank(adapter):
        raise UserError(
            f"--engine-arg max_lora_rank={settings['max_lora_rank']}: {adapter} has rank {adapters.rank(adapter)}: "
            "leave the argument out"
        )
    return settings | _precision(setup, settings) | {"seed": setup.seed, "trust_remote_code": setup.trust}


def _precision(setup: Setup, settings: dict[str, Any]) -> dict[str, Any]:
    """4-bit weights if they are configured, and a dtype if the GPU lacks the one of vLLM's own choice."""
    precision = {"quantization": "bitsandbytes"} if setup.weights == "4-bit" and "quantization" not in settings else {}
    dtype = settings.get("dtype", "auto")
    has_bfloat16 = torch.bfloat16 in current_platform.supported_dtypes if ON_GPU else None
    chosen = dtype_of(has_bfloat16, model_type(setup.checkpoint), None if dtype == "auto" else str(dtype))
    return precision | ({"dtype": chosen} if dtype == "auto" and has_bfloat16 is False else {})


def weights_of(settings: dict[str, Any], weights: str) -> str:
    """The base's weights; if a user names a quantization of vLLM's, that."""
    quantization = settings.get("quantization")
    return "4-bit" if quantization == "bitsandbytes" else quantization or weights


def _gpu_defaults() -> dict[str, Any]:
    large = current_platform.get_device_total_memory() >= LARGE_GPU_BYTES
    sizes = [size for size in GRAPH_SIZES if large or size <= 512]
    return {"cudagraph_capture_sizes": sizes} | ({"max_num_seqs": LARGE_BATCH} if large else {})


def uncompiled(settings: dict[str, Any], at_once: int) -> dict[str, Any]:
    """The settings with nothing compiled, and CUDA graphs for the steps that generate for up to `at_once` requests."""
    sizes = settings["cudagraph_capture_sizes"]
    needed = [size for smaller, size in pairwise([0, *sizes]) if smaller < at_once]
    graphs = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": needed}
    others = {name: value for name, value in settings.items() if name != "cudagraph_capture_sizes"}
    return _norms(settings) | others | {"compilation_config": graphs}


def _norms(settings: dict[str, Any]) -> dict[str, Any]:
    """Our kernels for norms; nothing where another process runs the model, or where a user or this vLLM has no use."""
    elsewhere = (
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] != "0"
        or settings.get("distributed_executor_backend", "uni") != "uni"
        or gpus.of_each_replica(settings) > 1
    )
    if elsewhere or "kernel_config" in settings:
        return {}
    try:
        from harness.engines import vllm_norms
    except (ImportError, ValueError):  # another vLLM than ours has no such operations, or with other arguments
        return {}
    return {"ir_op_priority": vllm_norms.PRIORITY}


def refuse_too_large(checkpoint: str, settings: dict[str, Any]) -> None:
    """Raises UserError if the weights alone take more than the GPU has; vLLM would tell only after minutes."""
    if not ON_GPU or {"quantization", "dtype", "cpu_offload_gb"} & settings.keys():
        return
    total = current_platform.get_device_total_memory() / 2**30
    shares = gpus.of_each_replica(settings)
    needed = checkpoints.weight_bytes(checkpoint) / 2**30 / shares
    if needed > total:
        raise UserError(
            f"{checkpoint}: its weights take {needed:.1f} GiB of memory, a GPU has {total:.1f} GiB: "
            "give --engine-arg quantization=fp8 or tensor_parallel_size=2"
        )


def value_of(text: str) -> Any:
    """A number, a list or the like as JSON writes it; else the text itself."""
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text
