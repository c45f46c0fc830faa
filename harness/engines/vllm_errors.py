"""What vLLM prints and raises, as one line with its fix."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from harness.errors import cause
from harness.models.faults import disturbed_vllm, lacks_memory, lacks_room_for_vllm

_NAMED_ERROR = re.compile(r"\b([A-Z]\w*(?:Error|Exception): .+)")


@contextmanager
def redirect_stderr(file: IO[str]) -> Iterator[None]:
    """Write what this process prints on stderr into a file, and for good what the processes that it starts print."""
    sys.stderr.flush()
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def first_error(stderr: IO[str], start: int = 0) -> str | None:
    """The first error that vLLM or its workers printed: the others follow from it."""
    stderr.seek(start)
    errors = [match[1] for match in map(_NAMED_ERROR.search, stderr) if match]
    return next((each for each in errors if "initialization failed" not in each), None)


def line_with_fix(what: str, message: str, fix: str) -> str:
    """One line with a fix; if memory is short, or another program was in the way, with the fix for that."""
    if disturbed_vllm(message):
        fix = "another program on this GPU ended meanwhile: the same command continues"
    elif lacks_memory(message) or lacks_room_for_vllm(message):
        which = "raise" if "increas" in message.casefold() else "lower"
        fix = (
            f"{which} --engine-arg gpu_memory_utilization or lower max_num_seqs, and what is generated is kept, or "
            "lower max_model_len, which makes it another run"
        )
    return f"{what}: {cause(message, 300)}: {fix}"
