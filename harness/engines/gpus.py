"""The GPUs that this process sees, by the names that CUDA_VISIBLE_DEVICES gives them, and how replicas share them.

In a Slurm job of several machines, theirs too.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from harness.engines import slurm, whole_number
from harness.errors import UserError

VARIABLE = "CUDA_VISIBLE_DEVICES"
# How many of this machine's GPUs another stage of the same run has meanwhile.
LENT = "HARNESS_GPUS_LENT"
REPLICAS = "data_parallel_size"
# In an engine's provenance, where its replicas run on more than one.
MACHINES = "machines"
# vLLM's arguments that put one model on several GPUs.
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
# Engines are loaded side by side, so a second one pays as soon as its replies take longer than its start-up.
LEAST_REPLIES = 64


class Place(NamedTuple):
    """Where a replica runs.

    `gpus` is its CUDA_VISIBLE_DEVICES, "" for a share of the CPU's cores; on another machine the GPUs' places among
    those that Slurm shows there. `machine` is "" for this one.
    """

    gpus: str
    machine: str = ""

    def __str__(self) -> str:
        gpus = f"GPU {self.gpus}" if self.gpus else ""
        words = " of ".join(filter(None, [gpus, self.machine]))
        return f" on {words}" if words else ""


def names_of(variable: str | None, count: int) -> list[str]:
    """The names of the `count` GPUs that torch sees, given CUDA_VISIBLE_DEVICES (None: not set).

    An index or a UUID each; they are what a process started by this one is given to see the same GPU.
    """
    named = _named_by(variable) if variable is not None else map(str, range(count))
    return list(named)[:count]


def at_places(places: str, variable: str | None) -> str:
    """The names of the GPUs at these places ("0,1") among those of CUDA_VISIBLE_DEVICES (None: not set).

    Ends the process with a line if there are fewer.
    """
    if variable is None:
        return places
    names, wanted = _named_by(variable), [int(place) for place in places.split(",")]
    if max(wanted) >= len(names):
        sys.exit(f"fewer GPUs are shown here ({len(names)}) than on the machine that the command runs on")
    return ",".join(names[place] for place in wanted)


def _named_by(variable: str) -> list[str]:
    return [name.strip() for name in variable.split(",") if name.strip()]


def of_this_machine() -> tuple[list[str], int]:
    """The names of the GPUs that this process sees, none on a machine without, and the number of cores."""
    import torch

    return names_of(os.environ.get(VARIABLE), torch.cuda.device_count()), os.cpu_count() or 1


def places(engine: str, arguments: Mapping[str, str], replies: int, shared_out: bool = False) -> list[Place]:
    """Where the replicas of an engine run, with what this process sees; as `places_of` has it.

    Other machines have none if the user has shared them out for something else, unless data_parallel_size is given.
    """
    seen, cores = of_this_machine()
    asked = arguments.get(REPLICAS, "1" if engine != "vllm" or shared_out else "")
    others = {} if asked == "1" else slurm.other_machines(len(seen), int(os.environ.get(LENT, "0")))
    return places_of(engine, arguments, replies, seen, cores, others)


def places_of(
    engine: str,
    arguments: Mapping[str, str],
    replies: int,
    gpus: Sequence[str],
    cores: int,
    others: Mapping[str, int] | None = None,
) -> list[Place]:
    """Where the replicas of an engine run, this machine's places first.

    With fewer than two there are no replicas: one engine runs in this process. Without data_parallel_size vLLM gets as
    many as there are GPUs and LEAST_REPLIES replies for each. `others` are more machines, with their numbers of GPUs.
    Raises UserError if more are asked for than there is room for.
    """
    asked = arguments.get(REPLICAS)
    number = whole_number(REPLICAS, asked) if asked is not None else None
    on_gpu = bool(gpus) and arguments.get("device") != "cpu"
    each = of_each_replica(arguments)
    by_machine = {"": list(gpus)} | {name: [str(place) for place in range(n)] for name, n in (others or {}).items()}
    if on_gpu:
        room = [
            Place(",".join(names[start : start + each]), machine)
            for machine, names in by_machine.items()
            for start in range(0, len(names) - each + 1, each)
        ]
    else:
        room = [Place("", machine) for machine in by_machine for _ in range(cores)] if engine == "transformers" else []
    if number is None:
        chosen = engine == "vllm" and on_gpu and "distributed_executor_backend" not in arguments
        number = min(len(room), replies // LEAST_REPLIES) if chosen else 1
    elif number > max(1, len(room)):
        seen = sum(map(len, by_machine.values())) if on_gpu else 0
        raise UserError(f"--engine-arg {REPLICAS}={number}: {_too_few(engine, len(room), each, seen)}")
    return room[:number]


def of_each_replica(arguments: Mapping[str, Any]) -> int:
    """How many GPUs a replica takes, by arguments as a user gave them or as vLLM gets them.

    Raises UserError if one is no number.
    """
    return prod(whole_number(name, str(arguments.get(name, 1))) for name in PARALLEL)


def _too_few(engine: str, room: int, each: int, seen: int) -> str:
    if seen:
        takes = "a GPU" if each == 1 else f"{each} GPUs"
        return f"each replica takes {takes}, and {seen} are seen here: give at most {max(1, room)}"
    if engine == "transformers":
        return f"each replica takes a core, and there are {room}: give at most {room}"
    return "vllm's replicas take a GPU each, and none is seen here: leave it out, or --engine transformers"


def in_words(provenance: Mapping[str, Any]) -> str:
    """Where an engine's replicas run, for behind its name; empty without replicas."""
    replicas, arguments = provenance.get(REPLICAS, 1), provenance.get("engine_args", {})
    if replicas == 1:
        return ""
    of_machines = f" of {provenance[MACHINES]} machines" if MACHINES in provenance else ""
    if provenance["device"] == "cpu":
        return f" in {replicas} processes{of_machines}"
    return f" on {replicas * of_each_replica(arguments)} GPUs{of_machines}"
