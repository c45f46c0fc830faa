"""Find a checkpoint: the embedded one, a local folder, a GGUF file, or the hub; and tell apart one's weights by their
hash."""

import json
import os
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlparse

from harness.config import EMBEDDED
from harness.errors import UserError, cause
from harness.models import chat, gguf, model_files, turn_ends
from harness.models.faults import lacks_memory, said_by
from harness.storage.files import cached_sha256

CONNECT_SECONDS = 5
NO_SWITCHES: Mapping[str, Any] = MappingProxyType({})
# What transformers raises at a folder that is no checkpoint of its own has no common class.
LOADING_ERRORS = (
    OSError, ValueError, TypeError, AttributeError, RuntimeError, LookupError, ImportError, AssertionError
)  # fmt: skip
# Weights as torch pickles them.
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# What makes transformers load an adapter beside the weights that it is asked for.
ADAPTER_CONFIG = "adapter_config.json"
# Where a hub's checkpoint has its weights, in one file or in several.
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def locate(checkpoint: str, quiet: bool = False) -> str:
    """What transformers loads: a folder, or a hub id. A GGUF file is dequantized into a folder first, once."""
    if checkpoint == EMBEDDED:
        return str(resources.files("baselines") / "tiny" / "model")
    file = gguf_file(checkpoint)
    return str(gguf.converted(file, quiet)) if file else checkpoint


def gguf_file(checkpoint: str) -> Path | None:
    """The GGUF file that a checkpoint is; None where it is something else."""
    return None if checkpoint == EMBEDDED else gguf.file_of(checkpoint)


def folder_here(checkpoint: str) -> Path | None:
    """The folder of a checkpoint on this machine, be it the hub's cache; None where it is not there. No network.

    A GGUF file that was never used has none yet.
    """
    if (file := gguf_file(checkpoint)) and not gguf.is_converted(file):
        return None
    folder = Path(locate(checkpoint))
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    with suppress(ValueError):  # what is no hub id has no place in its cache
        kept = try_to_load_from_cache(checkpoint, "config.json")
        return Path(kept).parent if isinstance(kept, str) else None
    return None


def check(
    checkpoint: str, chat_template: str = "", trust: bool = False, switches: Mapping[str, Any] = NO_SWITCHES
) -> None:
    """A UserError for what a folder's files, or a GGUF file's header, show to be wrong, without loading a model."""
    if file := gguf_file(checkpoint):
        gguf.check(file, chat_template)
        return
    folder = Path(locate(checkpoint))
    if not folder.is_dir():
        if folder.is_absolute() or checkpoint.startswith("."):
            raise UserError(f"--model {checkpoint}: no such folder or file: give a checkpoint's folder, or a hub id")
        return
    if (folder / ADAPTER_CONFIG).exists():
        raise holds_adapter(checkpoint)
    if not (folder / "config.json").is_file():
        raise UserError(f"--model {checkpoint}: no config.json with a model's settings: give a checkpoint's folder")
    model_files.check(folder)
    check_code(checkpoint, trust)
    check_weights(folder)
    template = chat.choose(chat.templates_in(folder), chat_template, f"--model {checkpoint}")
    chat.refuse_unused(switches, template, checkpoint)


def holds_adapter(checkpoint: str) -> UserError:
    """The line for a folder or hub id that some libraries would load an adapter from, and others the base alone."""
    return UserError(
        f"--model {checkpoint}: has an {ADAPTER_CONFIG}, so transformers would load that adapter and others would not: "
        "give the base as --model and the adapter's folder as --adapter (a merged checkpoint: remove that file)"
    )


def check_code(checkpoint: str, trust: bool) -> None:
    """A UserError where a checkpoint cannot be loaded without Python code of its own, unless `trust` says to run it."""
    config = {} if trust else model_config(checkpoint)
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise _needs_trust(checkpoint)


def _needs_trust(checkpoint: str) -> UserError:
    return UserError(
        f"{checkpoint}: brings Python code of its own along: read it, then add --trust-remote-code to run it"
    )


def check_weights(folder: Path) -> None:
    """A UserError where a folder has no safetensors, or one whose header does not fit its size."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = next((file.name for pattern in PICKLED for file in sorted(folder.glob(pattern))), None)
        found = f" (no {pickled} is read: it is a pickle, which can run anything)" if pickled else ""
        raise UserError(f"{folder}: no .safetensors file there{found}: save the weights as safetensors")
    for file in files:
        check_whole(file)


def check_whole(file: Path) -> None:
    """A UserError where a safetensors file's header does not fit its size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: not a whole safetensors file ({error}): copy it again") from error


def check_hub(checkpoint: str, trust: bool = False, quiet: bool = False) -> None:
    """A UserError where a hub id cannot be reached, has no safetensors, or needs code that `trust` does not allow.

    Without a network the library is told to ask only its cache. A GGUF file is dequantized here.
    """
    if Path(locate(checkpoint, quiet)).is_dir():
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    go_offline_without_network()
    try:
        hf_hub_download(checkpoint, "config.json")
    except GatedRepoError as error:
        raise UserError(
            f"--model {checkpoint}: gated: accept its licence on its page of the hub, then set HF_TOKEN to your token"
        ) from error
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"--model {checkpoint}: not to be had from the hub ({cause(error, 120)}): give a local folder"
        ) from error
    check_code(checkpoint, trust)
    if _is_on_hub(checkpoint, ADAPTER_CONFIG, unknown=False):
        raise holds_adapter(checkpoint)
    if not any(_is_on_hub(checkpoint, name) for name in SAFE_WEIGHTS):
        raise UserError(f"--model {checkpoint}: has no .safetensors files, and pickles are not read: give another")


def _is_on_hub(checkpoint: str, name: str, unknown: bool = True) -> bool:
    """Whether a hub id has a file, `unknown` where that cannot be asked: then it is left to the loading."""
    from huggingface_hub import constants, file_exists, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(checkpoint, name), str):
        return True
    try:
        return unknown if constants.HF_HUB_OFFLINE else file_exists(checkpoint, name)
    except OSError:
        return unknown


def go_offline_without_network() -> None:
    """Spare a machine without network the hub's minute of retries: one look-up of its host decides."""
    if {"HTTPS_PROXY", "https_proxy", "HF_HUB_OFFLINE"} & os.environ.keys():
        return
    from huggingface_hub import constants

    hub = urlparse(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        constants.HF_HUB_OFFLINE = True


def read_json(path: Path) -> Any:
    """A JSON file's content; None where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def load(loader: Any, checkpoint: str, trust: bool, **arguments: Any) -> Any:
    """`loader.from_pretrained`, with a UserError where the checkpoint is not to be had; `trust` runs its own code."""
    from huggingface_hub.errors import StrictDataclassError

    where = locate(checkpoint)
    try:
        return loader.from_pretrained(where, trust_remote_code=trust, **arguments)
    except StrictDataclassError as error:
        raise UserError(
            f"{checkpoint}: config.json is not as transformers wants it ({cause(error, 200)}): fix that key"
        ) from error
    except (*LOADING_ERRORS, MemoryError) as error:
        if lacks_memory(said_by(error)):
            raise UserError(f"{checkpoint}: does not fit into memory: free some, or take a smaller model") from error
        if not trust and "trust_remote_code" in str(error):
            raise _needs_trust(checkpoint) from error
        said = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
        fix = "give --model a whole checkpoint folder" if Path(where).is_dir() else "give --model a local folder"
        raise UserError(f"{checkpoint}: cannot be loaded ({cause(said)}): {fix}") from error


def load_model(checkpoint: str, trust: bool, **arguments: Any) -> Any:
    """The checkpoint's language model, out of safetensors alone.

    A UserError where its files lack a weight, which transformers would fill in at random.
    """
    from transformers import AutoModelForCausalLM

    arguments |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, found = load(AutoModelForCausalLM, checkpoint, trust, **arguments)
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        raise UserError(
            f"{checkpoint}: {name} is {list(stored)} in its files and {list(wanted)} by config.json: give the folder "
            "its own config.json"
        )
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"{checkpoint}: its files lack {len(missing)} of the model's weights ({missing[0]}): copy all of them again"
        )
    return model


def load_tokenizer(
    checkpoint: str, chat_template: str = "", trust: bool = False, switches: Mapping[str, Any] = NO_SWITCHES
) -> Any:
    """The checkpoint's tokenizer, padding on the left as generation wants it and with a token of its own; it must have
    a chat template, or be given one, which `switches` (chat_template_kwargs) are set in."""
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, checkpoint, trust, padding_side="left")
    config = model_config(checkpoint)
    vocabulary = model_files.language_model(config).get("vocab_size")
    model_files.refuse_another_tokenizer(tokenizer, vocabulary, checkpoint)
    chat.settle(tokenizer, chat_template, switches, checkpoint)
    turn_ends.give_pad_token(tokenizer, end_tokens(checkpoint, tokenizer), config)
    return tokenizer


def end_tokens(checkpoint: str, tokenizer: Any) -> frozenset[int]:
    """The ids of the tokens that end a reply of a checkpoint, with a tokenizer that may have another chat template."""
    generation_config = _settings(checkpoint, "generation_config.json")
    return turn_ends.end_tokens(tokenizer, generation_config, model_config(checkpoint))


def weight_hashes(checkpoint: str) -> dict[str, str]:
    """SHA-256 of each safetensors file of a folder, by file name; nothing for a hub id."""
    return _shas(sorted(Path(locate(checkpoint)).glob("*.safetensors")))


def weight_bytes(checkpoint: str) -> int:
    """The size of a folder's safetensors files; 0 for a hub id."""
    return sum(file.stat().st_size for file in Path(locate(checkpoint)).glob("*.safetensors"))


def shapes(folder: Path) -> dict[str, list[int]]:
    """Of each tensor in a folder's safetensors, out of their headers; nothing where a file of its index is missing."""
    from safetensors import safe_open

    index = read_json(folder / "model.safetensors.index.json") or {"weight_map": {}}
    if any(not (folder / name).is_file() for name in set(index["weight_map"].values())):
        return {}
    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as tensors:
            found |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118, no mapping
    return found


def model_config(checkpoint: str) -> dict[str, Any]:
    """config.json of a folder or a hub id; empty where there is none."""
    return _settings(checkpoint, "config.json")


def _settings(checkpoint: str, name: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    path = Path(locate(checkpoint)) / name
    if not path.parent.is_dir():
        try:
            path = Path(hf_hub_download(checkpoint, name))
        except EntryNotFoundError:
            return {}
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def parameters(checkpoint: str) -> int:
    """About how many parameters the language model has, from the figures of its config.json; 0 where it has none."""
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
    """What tells one checkpoint from another: the SHA-256 of each of a folder's files, or a hub id's commit; of a GGUF
    file also its quantization."""
    if file := gguf_file(checkpoint):
        return gguf.record_of(file)
    folder = Path(locate(checkpoint))
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download

        return {"hub": checkpoint, "commit": Path(hf_hub_download(checkpoint, "config.json")).parent.name}
    return _shas(file for file in sorted(folder.iterdir()) if file.is_file())


def _shas(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by file name, several files at once."""
    found = list(files)
    with ThreadPoolExecutor() as pool:
        return dict(zip((file.name for file in found), pool.map(cached_sha256, found), strict=True))
