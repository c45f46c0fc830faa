"""The examination of this machine: what it can run, and the fix for what it cannot."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.config import EMBEDDED
from harness.models import checkpoints
from harness.registry import installation

NEEDED = ("torch", "transformers", "trl", "peft", "datasets", "langid", "math-verify", "matplotlib")
EXTRAS = {"vllm": "gpu", "unsloth": "gpu", "swanlab": "swanlab"}
FREE_DISK_GB = 2


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `needed` by every run, or only good to have."""

    name: str
    ok: bool
    text: str
    needed: bool = True


def examine() -> list[Finding]:
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.system()}, {os.cpu_count()} cores"),
        *(_package(name, f"pip install {name}", needed=True) for name in NEEDED),
        *(_package(name, installation(f"[{extra}]"), needed=False) for name, extra in EXTRAS.items()),
        _gpu(),
        _disk(),
        _embedded_model(),
    ]


def _package(name: str, fix: str, needed: bool) -> Finding:
    try:
        return Finding(name, True, version(name), needed)
    except PackageNotFoundError:
        return Finding(name, False, f"not installed: {fix}", needed)


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(
            "gpu", False, "PyTorch finds none: the embedded model runs on the CPU, 4B models need one", False
        )
    free, total = torch.cuda.mem_get_info()
    return Finding(
        "gpu", True, f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free", False
    )


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    return Finding("disk", free > FREE_DISK_GB, f"{free:.0f} GB free here, a run of the embedded model takes 0.1 GB")


def _embedded_model() -> Finding:
    expected = (Path(checkpoints.locate(EMBEDDED)).parent / "model.sha256").read_text().split()[0]
    whole = checkpoints.weight_hashes(EMBEDDED).get("model.safetensors") == expected
    return Finding("embedded model", whole, "its weights are the shipped ones" if whole else "damaged: install again")
