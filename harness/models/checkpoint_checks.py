"""What is wrong with a checkpoint, found before a model is loaded."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import UserError
from harness.models import chat, gguf, hub, model_files, modelscope
from harness.models.checkpoints import gguf_file, locate, model_config

NO_SWITCHES: Mapping[str, Any] = MappingProxyType({})
# Weights that torch has pickled.
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# With this file transformers loads an adapter without being asked.
ADAPTER_CONFIG = "adapter_config.json"
# The weights of a checkpoint on the hub, in one file or in several.
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def check(
    checkpoint: str, chat_template: str = "", trust: bool = False, switches: Mapping[str, Any] = NO_SWITCHES
) -> None:
    """Raise UserError for the first fault in a folder's files or a GGUF file's header. Loads no model."""
    if file := gguf_file(checkpoint):
        gguf.check(file, chat_template)
        return
    folder = Path(locate(checkpoint))
    if not folder.is_dir():
        if folder.is_absolute() or checkpoint.startswith("."):
            raise UserError(f"--model {checkpoint}: no such folder or file: give a checkpoint's folder, or a hub id")
        return
    _check_folder(folder, checkpoint, trust)
    template = chat.choose(chat.templates_in(folder), chat_template, f"--model {checkpoint}")
    chat.refuse_unused(switches, template, checkpoint)


def _check_folder(folder: Path, checkpoint: str, trust: bool) -> None:
    if (folder / ADAPTER_CONFIG).exists():
        raise holds_adapter(checkpoint)
    if not (folder / "config.json").is_file():
        raise UserError(f"--model {checkpoint}: no config.json with a model's settings: give a checkpoint's folder")
    model_files.check(folder)
    check_code(checkpoint, trust)
    check_weights(folder)


def holds_adapter(checkpoint: str) -> UserError:
    """The error for a folder or hub id from which some libraries load an adapter, and others the base alone."""
    return UserError(
        f"--model {checkpoint}: has an {ADAPTER_CONFIG}, so transformers would load that adapter and others would not: "
        "give the base as --model and the adapter's folder as --adapter (a merged checkpoint: remove that file)"
    )


def check_code(checkpoint: str, trust: bool) -> None:
    """Raise UserError if a checkpoint cannot be loaded without its own Python code, unless `trust` allows to run it."""
    config = {} if trust else model_config(checkpoint)
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise needs_trust(checkpoint)


def needs_trust(checkpoint: str) -> UserError:
    """The error for a checkpoint that needs its own Python code."""
    return UserError(f"{checkpoint}: comes with its own Python code: read it, then add --trust-remote-code to run it")


def check_weights(folder: Path) -> None:
    """Raise UserError if a folder has no safetensors file, one whose header does not fit its size, or a wrong index."""
    model_files.indexed_files(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = next((file.name for pattern in PICKLED for file in sorted(folder.glob(pattern))), None)
        why = f" ({pickled} is not read: it is a pickle, which can run any code)" if pickled else ""
        raise UserError(f"{folder}: no .safetensors file there{why}: save the weights as safetensors")
    for file in files:
        check_whole(file)


def check_whole(file: Path) -> None:
    """Raise UserError if a safetensors file's header does not fit its size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: not a whole safetensors file ({error}): copy it again") from error


def check_hub(checkpoint: str, trust: bool = False, quiet: bool = False) -> None:
    """Raise UserError if a hub id cannot be reached, has no safetensors, or needs code that `trust` does not allow.

    Without a network only the hub's cache is asked. A GGUF file is dequantized here, and what comes from ModelScope is
    downloaded.
    """
    if repository := modelscope.id_of(checkpoint):
        folder = modelscope.download(repository, modelscope.MODEL, modelscope.CHECKPOINT_FILES)
        _check_folder(folder, checkpoint, trust)
        return
    if Path(locate(checkpoint, quiet)).is_dir():
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    hub.prepare()
    try:
        hf_hub_download(checkpoint, "config.json")
    except GatedRepoError as error:
        raise UserError(
            f"--model {checkpoint}: gated: accept its licence on its page of the hub, then set HF_TOKEN to your token"
        ) from error
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise hub.no_download(f"--model {checkpoint}", error, "give a downloaded folder") from error
    check_code(checkpoint, trust)
    if _is_on_hub(checkpoint, ADAPTER_CONFIG, unknown=False):
        raise holds_adapter(checkpoint)
    if not any(_is_on_hub(checkpoint, name) for name in SAFE_WEIGHTS):
        raise UserError(f"--model {checkpoint}: has no .safetensors files, and pickles are not read: give another")


def _is_on_hub(checkpoint: str, name: str, unknown: bool = True) -> bool:
    """Whether a hub id has a file; `unknown` if the hub cannot be asked, as loading will tell then."""
    from huggingface_hub import constants, file_exists, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(checkpoint, name), str):
        return True
    try:
        return unknown if constants.HF_HUB_OFFLINE else file_exists(checkpoint, name)
    except OSError:
        return unknown
