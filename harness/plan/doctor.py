"""The examination of this machine: what it can run, and the fix for what it cannot."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.config import EMBEDDED
from harness.errors import UserError
from harness.models import checkpoints, hub
from harness.registry import installation

NEEDED = ("torch", "transformers", "trl", "peft", "datasets", "langid", "math-verify", "matplotlib")
EXTRAS = {"vllm": "gpu", "unsloth": "gpu", "modelscope": "modelscope", "swanlab": "swanlab"}
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
        _hub(),
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


def _hub() -> Finding:
    try:
        is_reached, where = hub.answers(), hub.where()
        hub.refuse_unusable_proxies()
    except UserError as error:
        return Finding("hub", False, str(error), False)
    fix = f"set {hub.MIRROR} to a mirror or HTTPS_PROXY to a proxy, or give downloaded folders"
    return Finding("hub", is_reached, where if is_reached else f"no connection to {where}: {fix}", False)


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    enough = free > FREE_DISK_GB
    needed = "a run of the embedded model takes 0.1 GB"
    if not enough:
        needed = f"{FREE_DISK_GB} are needed: make room, or run in a folder of another disk"
    return Finding("disk", enough, f"{free:.1f} GB free here, {needed}")


def _embedded_model() -> Finding:
    expected = (Path(checkpoints.locate(EMBEDDED)).parent / "model.sha256").read_text().split()[0]
    whole = checkpoints.weight_hashes(EMBEDDED).get("model.safetensors") == expected
    return Finding("embedded model", whole, "its weights are the shipped ones" if whole else "damaged: install again")
