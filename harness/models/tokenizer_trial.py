"""A tokenizer.json tried in a process of its own: what its rules do, the library can neither be stopped in nor survive.

A rule that doubles the text doubles it until the memory is full, and a panic of the library ends the process.
"""

import resource
import signal
import string
import subprocess
import sys
from functools import cache
from os import environ
from pathlib import Path

from harness.errors import UserError, cause
from harness.models.model_files import PROBE
from harness.processes import OWN_SETTINGS, ending, ends_with_us
from harness.storage.links import real_path

CPU_SECONDS, GIB = 60, 4
FAILED = 3
TEXTS = (
    string.printable, PROBE * 50, *(each * 1000 for each in ("a", " ", "7", "\n", "!", "ab ", "é", "数", "🙂")),
)  # fmt: skip


def check(file: Path) -> None:
    """Raise UserError if a tokenizer.json cannot be read, or not turn plain texts into tokens in bounded time."""
    if file.is_file():
        state = file.stat()
        _check(file, state.st_size, state.st_mtime_ns)


@cache
def _check(file: Path, size: int, changed: int) -> None:
    command = [sys.executable, "-m", __name__, str(real_path(file))]
    tried = subprocess.run(
        command, capture_output=True, check=False, env=environ | OWN_SETTINGS, preexec_fn=ends_with_us()
    )
    if tried.returncode > 0 and tried.returncode != FAILED:
        raise RuntimeError(tried.stderr.decode("utf-8", "replace"))
    if tried.returncode:
        why = tried.stdout.decode("utf-8", "replace") or ending(tried.returncode)
        if tried.returncode == -signal.SIGXCPU:
            why = f"takes over {CPU_SECONDS} s for {sum(map(len, TEXTS))} characters"
        raise UserError(
            f"{file}: makes no tokens of plain text ({cause(why)}): copy the model's own tokenizer beside its weights"
        )


def main(file: str) -> int:
    """Read a tokenizer and put plain texts through it; FAILED if it fails, and prints why."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (GIB << 30, GIB << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(file)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        for text in TEXTS:
            tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids)
        if len({tuple(tokenizer.encode(PROBE * 50).ids) for _ in range(3)}) > 1:
            raise ValueError("other tokens each time: it has a dropout")
    except BaseException as error:  # a panic of the library is no Exception
        print(error)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
