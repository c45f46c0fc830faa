"""Recognise by their messages the errors of libraries that are short of memory, as those have no class of their own."""

from harness.errors import UserError

NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
NO_ROOM_FOR_VLLM = (
    "memory utilization", "gpu_memory_utilization", "no available memory for the cache", "kv cache is needed",
    "less than requested memory", "memory used by other processes",
)  # fmt: skip


def message_of(error: BaseException) -> str:
    """The message of a library's error, also of one that caused a UserError. Python's MemoryError has none."""
    if isinstance(error, UserError):
        return message_of(error.__cause__) if error.__cause__ else ""
    return str(error) or (NO_MEMORY[0] if isinstance(error, MemoryError) else type(error).__name__)


def lacks_memory(message: str) -> bool:
    """Whether a message says that memory is short."""
    return any(part in message.casefold() for part in NO_MEMORY)


def lacks_room_for_vllm(message: str) -> bool:
    """Whether vLLM's share of the memory is too small, or larger than what is free."""
    return any(part in message.casefold() for part in NO_ROOM_FOR_VLLM)


def disturbed_vllm(message: str) -> bool:
    """Whether another program on the GPU freed memory while vLLM measured what is free."""
    return "error in memory profiling" in message.casefold()
