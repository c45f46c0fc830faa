"""The memory that the stages take: a lower bound with its rule, and whether the machine has it."""

from harness.engines import SERVER, WITHOUT_CHECKPOINT
from harness.engines.base_weights import evaluation_weights
from harness.plan.case import H200_PARAMETERS, UNKNOWN, Case, Size, bytes_shown
from harness.stages import SIDES

BYTES = {"float32": 4, "16-bit": 2, "4-bit": 0.6}
# A parameter's weight and gradient in float32, and Adam's two moments, in float32 or in 8 bits.
TRAINED_BYTES, TRAINED_BYTES_8BIT = 16, 10
# With one of these a GPU holds another share of the weights.
CHANGES_WEIGHTS = {"quantization", "cpu_offload_gb", "tensor_parallel_size", "pipeline_parallel_size"}
H200_PEAK = (
    "gemma3-4b in 16 bits with gpu_memory_utilization = 0.1 took 16.8 GiB at its peak on an H200 (2026-11-21, "
    "baselines/peers/training_speed.json)"
)


def memory_of(case: Case) -> dict[str, str]:
    """Estimates of the memory of evaluation and training, with what the machine has."""
    stages = {}
    if {*case.names} & {*SIDES}:
        stages["evaluation"] = _evaluation_memory(case)
    if "train" in case.names:
        stages["training"] = _training_memory(case)
        if case.size.parameters and abs(case.size.parameters / H200_PARAMETERS - 1) < 0.1:
            stages["measured once"] = H200_PEAK
    return {"this machine": str(case.machine)} | stages


def _evaluation_memory(case: Case) -> str:
    arguments = case.config.engine_args
    if case.engine in WITHOUT_CHECKPOINT:
        return "the server's" if case.engine == SERVER else "no model is loaded"
    if not case.size.parameters:
        return UNKNOWN
    on_cpu = case.device == "cpu"
    kind = "float32" if arguments.get("dtype", "float32" if on_cpu else "") == "float32" else "16-bit"
    if evaluation_weights(case.config, not on_cpu)[0] == "4-bit":
        kind = "4-bit"
    weights = _weights(case.size, kind)
    text, room = f"{bytes_shown(weights)} of {kind} weights", case.machine.room(on_cpu)
    if changes := CHANGES_WEIGHTS & arguments.keys():
        return f"{text}, before {' and '.join(sorted(changes))}"
    if case.engine == "vllm":
        share = arguments.get("gpu_memory_utilization", "its own default")
        return f"{text}{_fits(weights, room)}; with KV cache vLLM takes gpu_memory_utilization ({share}) of that"
    return f"{text}{_fits(weights, room)}; activations and KV cache come on top, how much is unknown"


def _training_memory(case: Case) -> str:
    """The weights, what the adapter needs, and vLLM's share; a lower bound, as activations are left out."""
    config, size, machine = case.trainer.config, case.size, case.machine
    if not size.parameters:
        return UNKNOWN
    kind = config.weights if machine.gpu else "float32"
    weights = _weights(size, kind)
    adapted = (size.adapter or 0) * (TRAINED_BYTES_8BIT if config.optimizer.endswith("8bit") else TRAINED_BYTES)
    needed, text = weights + adapted, f"{bytes_shown(weights)} of {kind} weights"
    if machine.gpu and config.rollouts == "vllm":
        share = config.gpu_memory_utilization * machine.gpu_memory
        within = case.trainer.name == "unsloth"
        needed = max(weights, share) + adapted if within else needed + share
        text = f"vLLM's {bytes_shown(share)} (gpu_memory_utilization) {'with' if within else 'beside'} {text}"
    small = bytes_shown(adapted) if size.adapter else "a small part"
    text += f" + {small} for the adapter, its gradients and Adam's moments"
    if config.launcher:
        return f"{text}, a process of the launcher's; activations come on top, how much is unknown"
    return f"{text}{_fits(needed, machine.room(not machine.gpu))}; activations come on top, how much is unknown"


def _weights(size: Size, kind: str) -> float:
    return size.stored or size.parameters * BYTES[kind]


def _fits(needed: float, room: int) -> str:
    return (
        f": DOES NOT FIT into the {bytes_shown(room)} here" if needed > room else f", of the {bytes_shown(room)} here"
    )
