"""Where a checkpoint is (the embedded one, a local folder, a GGUF file, the hub), and what its files say about it."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from harness.config import EMBEDDED
from harness.memory import fits_memory
from harness.models import gguf, model_files, modelscope
from harness.storage.files import cached_sha256


def locate(checkpoint: str, quiet: bool = False) -> str:
    """The folder or hub id that transformers loads. A GGUF file is dequantized into a folder first, once.

    What comes from ModelScope and is not here yet has no folder: checkpoint_checks.check_hub downloads it.
    """
    if checkpoint == EMBEDDED:
        return str(resources.files("baselines") / "tiny" / "model")
    if repository := modelscope.id_of(checkpoint):
        return str(modelscope.folder_here(repository) or checkpoint)
    file = gguf_file(checkpoint)
    return str(gguf.converted(file, quiet)) if file else checkpoint


def gguf_file(checkpoint: str) -> Path | None:
    """The GGUF file that a checkpoint is; None if it is something else."""
    return None if checkpoint == EMBEDDED else gguf.file_of(checkpoint)


def folder_here(checkpoint: str) -> Path | None:
    """The folder of a checkpoint on this machine, also in the hub's cache; None if there is none. Uses no network.

    A GGUF file that was never used has none yet.
    """
    if repository := modelscope.id_of(checkpoint):
        return modelscope.folder_here(repository)
    if (file := gguf_file(checkpoint)) and not gguf.is_converted(file):
        return None
    folder = Path(locate(checkpoint))
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    with suppress(ValueError):  # the text is no hub id
        config = try_to_load_from_cache(checkpoint, "config.json")
        return Path(config).parent if isinstance(config, str) else None
    return None


def read_json(path: Path) -> Any:
    """A JSON file's content; None if it cannot be read. Raises UserError if it does not fit into memory."""
    if not path.is_file():
        return None
    try:
        with fits_memory(path):
            return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def weight_hashes(checkpoint: str) -> dict[str, str]:
    """SHA-256 of each safetensors file of a folder, by file name; empty for a hub id."""
    return _shas(sorted(Path(locate(checkpoint)).glob("*.safetensors")))


def weight_bytes(checkpoint: str) -> int:
    """The size of a folder's safetensors files in bytes; 0 for a hub id."""
    return sum(file.stat().st_size for file in Path(locate(checkpoint)).glob("*.safetensors"))


def shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of each tensor in a folder's safetensors, from the headers; empty if an indexed file is missing."""
    from safetensors import safe_open

    if any(not (folder / name).is_file() for name in model_files.indexed_files(folder)):
        return {}
    by_name = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as tensors:
            by_name |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118, no mapping
    return by_name


def model_config(checkpoint: str) -> dict[str, Any]:
    """The config.json of a folder or a hub id; empty if there is none."""
    return settings(checkpoint, "config.json")


def settings(checkpoint: str, name: str) -> dict[str, Any]:
    """A JSON file of settings of a folder or a hub id; empty if there is none."""
    path = file_of(checkpoint, name)
    content = read_json(path) if path else None
    return content if isinstance(content, dict) else {}


def file_of(checkpoint: str, name: str) -> Path | None:
    """A file of a folder or a hub id, which is downloaded; None if the hub has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    path = Path(locate(checkpoint)) / name
    if path.parent.is_dir():
        return path
    try:
        return Path(hf_hub_download(checkpoint, name))
    except EntryNotFoundError:
        return None


def parameters(checkpoint: str) -> int:
    """About how many parameters the language model has, computed from its config.json; 0 if that lacks the figures."""
    config = model_config(checkpoint)
    text = config.get("text_config") or config
    try:
        hidden, heads = text["hidden_size"], text["num_attention_heads"]
        head = text.get("head_dim") or hidden // heads
        attention = 2 * hidden * head * (heads + text.get("num_key_value_heads", heads))
        layer = attention + 3 * hidden * text["intermediate_size"]
        return text["num_hidden_layers"] * layer + text["vocab_size"] * hidden
    except (KeyError, TypeError):
        return 0


def fingerprint(checkpoint: str) -> dict[str, str]:
    """What identifies a checkpoint: the SHA-256 of each file of a folder, a hub id's commit, or the hash and
    quantization of a GGUF file."""
    if file := gguf_file(checkpoint):
        return gguf.record_of(file)
    folder = Path(locate(checkpoint))
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download

        return {"hub": checkpoint, "commit": Path(hf_hub_download(checkpoint, "config.json")).parent.name}
    return _shas(file for file in sorted(folder.iterdir()) if file.is_file())


def _shas(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by file name; hashes several files at once."""
    files = list(files)
    with ThreadPoolExecutor() as pool:
        return dict(zip((file.name for file in files), pool.map(cached_sha256, files), strict=True))
