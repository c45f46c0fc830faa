"""Errors of libraries on a machine that is too small, as one line that says what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.config import Configuration
from harness.errors import UserError
from harness.models.faults import disturbed_vllm, lacks_memory, lacks_room_for_vllm, message_of

NO_DISK = ("no space left", "disk quota", "file write failed", "unexpected pos", "file too large")


@contextmanager
def faults_named(config: Configuration) -> Iterator[None]:
    """Raises UserError for what a full GPU, memory or disk raises; other errors pass."""
    try:
        yield
    except Exception as error:
        # safetensors' own is a direct subclass of Exception.
        fix = fix_for(message_of(error), config)
        if fix is None:
            raise
        raise UserError(fix) from error


def fix_for(message: str, config: Configuration) -> str | None:
    """The line for a library's error message; None if it is none of these."""
    if disturbed_vllm(message):
        return "another program on this GPU ended while vLLM started beside the training: the same command continues"
    if lacks_room_for_vllm(message):
        return (
            f"vLLM finds no room for its rollouts beside the training: change gpu_memory_utilization = "
            f"{config.gpu_memory_utilization}, lower max_sequence = {config.max_sequence}, or weights = 4-bit"
        )
    if lacks_memory(message):
        lower = [f"generations = {config.generations}", f"max_sequence = {config.max_sequence}"]
        lower += [f"gpu_memory_utilization = {config.gpu_memory_utilization}"] if config.rollouts == "vllm" else []
        lower += ["weights to 4-bit"] if config.weights == "16-bit" else []
        return f"the training does not fit into memory: lower {' or '.join(lower)}, or raise accumulation"
    if any(part in message.casefold() for part in NO_DISK):
        return "the disk is full: make room, or save less often (save_steps); the same command then continues"
    return None
