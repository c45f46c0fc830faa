"""What a library raises when the machine is too small, as one line that says what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.config import Configuration
from harness.errors import UserError

# Parts of what torch, bitsandbytes and vLLM say; their exceptions have no class of their own.
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
NO_ROOM_FOR_VLLM = ("gpu memory utilization", "gpu_memory_utilization", "no available memory for the cache")
NO_DISK = ("no space left", "disk quota", "file write failed", "unexpected pos", "file too large")


@contextmanager
def faults_named(config: Configuration) -> Iterator[None]:
    """Turn what a full GPU, memory or disk raises into a UserError."""
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        fix = fix_for(str(error) or type(error).__name__, config)
        if fix is None:
            raise
        raise UserError(fix) from error
    except Exception as error:
        # safetensors says a full disk by an exception of its own, straight below Exception.
        fix = fix_for(str(error), config) if type(error).__module__.startswith("safetensors") else None
        if fix is None:
            raise
        raise UserError(fix) from error


def fix_for(said: str, config: Configuration) -> str | None:
    """The line for what a library said; None where it is none of these."""
    text = said.casefold()
    if any(part in text for part in NO_ROOM_FOR_VLLM):
        return (
            f"vLLM finds no room for its rollouts beside the training: change gpu_memory_utilization = "
            f"{config.gpu_memory_utilization}, lower max_sequence = {config.max_sequence}, or weights = 4-bit"
        )
    if any(part in text for part in NO_MEMORY) or said == "MemoryError":
        lower = [f"generations = {config.generations}", f"max_sequence = {config.max_sequence}"]
        lower += [f"gpu_memory_utilization = {config.gpu_memory_utilization}"] if config.rollouts == "vllm" else []
        lower += ["weights to 4-bit"] if config.weights == "16-bit" else []
        return f"the training does not fit into memory: lower {' or '.join(lower)}, or raise accumulation"
    if any(part in text for part in NO_DISK):
        return "the disk is full: make room, or save less often (save_steps); the same command then goes on"
    return None
