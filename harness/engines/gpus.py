"""The GPUs that this process sees, by the names that CUDA_VISIBLE_DEVICES gives them, and how replicas share them."""

import os
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from harness.engines import whole_number
from harness.errors import UserError

VARIABLE = "CUDA_VISIBLE_DEVICES"
REPLICAS = "data_parallel_size"
# vLLM's arguments that put one model on several GPUs.
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
# Engines are loaded side by side, so a second one pays as soon as its replies take longer than its start-up.
LEAST_REPLIES = 64


def names_of(variable: str | None, count: int) -> list[str]:
    """The names of the `count` GPUs that torch sees, given CUDA_VISIBLE_DEVICES (None: not set).

    An index or a UUID each; they are what a process started by this one is given to see the same GPU.
    """
    named = [name.strip() for name in variable.split(",")] if variable is not None else map(str, range(count))
    return list(named)[:count]


def of_this_machine() -> tuple[list[str], int]:
    """The names of the GPUs that this process sees, none on a machine without, and the number of cores."""
    import torch

    return names_of(os.environ.get(VARIABLE), torch.cuda.device_count()), os.cpu_count() or 1


def places_of(engine: str, arguments: Mapping[str, str], replies: int, gpus: Sequence[str], cores: int) -> list[str]:
    """Where the replicas of an engine run: CUDA_VISIBLE_DEVICES of each, or "" for a share of the CPU's cores.

    With fewer than two there are no replicas: one engine runs in this process. Without data_parallel_size vLLM gets as
    many as there are GPUs and LEAST_REPLIES replies for each. Raises UserError if more are asked for than there is room
    for.
    """
    asked = arguments.get(REPLICAS)
    number = whole_number(REPLICAS, asked) if asked is not None else None
    on_gpu = bool(gpus) and arguments.get("device") != "cpu"
    each = of_each_replica(arguments)
    if on_gpu:
        room = [",".join(gpus[start : start + each]) for start in range(0, len(gpus) - each + 1, each)]
    else:
        room = [""] * cores if engine == "transformers" else []
    if number is None:
        chosen = engine == "vllm" and on_gpu and "distributed_executor_backend" not in arguments
        number = min(len(room), replies // LEAST_REPLIES) if chosen else 1
    elif number > max(1, len(room)):
        raise UserError(f"--engine-arg {REPLICAS}={number}: {_too_few(engine, each, gpus if on_gpu else [], cores)}")
    return room[:number]


def of_each_replica(arguments: Mapping[str, Any]) -> int:
    """How many GPUs a replica takes, by arguments as a user gave them or as vLLM gets them.

    Raises UserError if one is no number.
    """
    return prod(whole_number(name, str(arguments.get(name, 1))) for name in PARALLEL)


def _too_few(engine: str, each: int, gpus: Sequence[str], cores: int) -> str:
    if gpus:
        takes = "a GPU" if each == 1 else f"{each} GPUs"
        return f"each replica takes {takes}, and {len(gpus)} are seen here: give at most {max(1, len(gpus) // each)}"
    if engine == "transformers":
        return f"each replica takes a core, and there are {cores}: give at most {cores}"
    return "vllm's replicas take a GPU each, and none is seen here: leave it out, or --engine transformers"


def in_words(provenance: Mapping[str, Any]) -> str:
    """Where an engine's replicas run, for behind its name; empty without replicas."""
    replicas, arguments = provenance.get(REPLICAS, 1), provenance.get("engine_args", {})
    if replicas == 1:
        return ""
    if provenance["device"] == "cpu":
        return f" in {replicas} processes"
    return f" on {replicas * of_each_replica(arguments)} GPUs"
