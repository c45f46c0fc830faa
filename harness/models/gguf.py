"""A GGUF file as a checkpoint: find it, check its header, and dequantize it once into a folder of the cache.

The folder is what a checkpoint's folder is everywhere else: safetensors, config.json, tokenizer. Its weights are
float16: at half of float32's size it is off by 0.02 % of a quantized file's values, where bfloat16 is off by 0.14 %.
Its config.json names bfloat16 as the type to compute in, as some models overflow in float16.
"""

import copy
import errno
import fcntl
import io
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.console import progress
from harness.errors import UserError, cause
from harness.models import gguf_tokenizer
from harness.storage.files import cache_folder, cached_sha256, read_json, write_json
from harness.storage.links import real_path

SUFFIX = ".gguf"
RECORD = "gguf.json"
# Change it if a file has to be converted in another way, so that earlier conversions are not used.
CONVERSION = "1"
# Those whose weights transformers restores exactly, and whose tokenizers gguf_tokenizer.py knows.
ARCHITECTURES = ("gemma2", "gemma3", "llama", "qwen2", "qwen3")
SAFETENSORS = "give the model's own folder of safetensors"
# What the library's reader raises for bytes that are no GGUF file has no common class.
READING_ERRORS = (ValueError, LookupError, OverflowError, TypeError, AttributeError, OSError, MemoryError)


@dataclass(frozen=True)
class Header:
    """The metadata of a GGUF file; `types` are the storage types of its tensors, one each."""

    file: Path
    fields: Mapping[str, Any]
    types: Sequence[str]

    def get(self, key: str, default: Any = None) -> Any:
        return self.fields[key].contents() if key in self.fields else default

    @property
    def quantization(self) -> str:
        """As llama.cpp names it (Q4_1, Q4_K_M, F16); the tensors' most frequent type if the file does not say."""
        from gguf import LlamaFileType

        names = {each.value: each.name.removeprefix("MOSTLY_").removeprefix("ALL_") for each in LlamaFileType}
        return names.get(self.get("general.file_type")) or Counter(self.types).most_common(1)[0][0]

    @property
    def ends(self) -> int | list[int]:
        """The token that ends a reply, or those that do."""
        named = [self.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
        distinct = list(dict.fromkeys(each for each in named if each is not None))
        return distinct if len(distinct) > 1 else distinct[0]


def file_of(checkpoint: str) -> Path | None:
    """The GGUF file that is the checkpoint: itself, or the only one of a folder without a config.json.

    A file needs no ending: Ollama's have none.
    """
    path = Path(checkpoint)
    if path.is_file():
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX)
    if len(files) > 1:
        raise UserError(f"--model {checkpoint}: holds {files[0].name} and {files[1].name}: give one of the files")
    return files[0] if files else None


def record_of(file: Path) -> dict[str, str]:
    """What identifies a converted file in run.json: its SHA-256 by its name, its quantization, its conversion."""
    record = read_json(_folder(file) / RECORD)
    return {file.name: record["sha256"], "quantization": record["quantization"], "conversion": record["conversion"]}


def is_converted(file: Path) -> bool:
    """Whether the file's folder is there, with weights of the size that was written: a damaged one is made again."""
    folder = _folder(file)
    return (folder / RECORD).is_file() and read_json(folder / RECORD).get("weights") == _sizes(folder)


def _sizes(folder: Path) -> dict[str, int]:
    return {weights.name: weights.stat().st_size for weights in sorted(folder.glob("*.safetensors"))}


def check(file: Path, chat_template: str = "") -> None:
    """Raise UserError if a file's header shows no model that can be evaluated here."""
    if is_converted(file):
        has_template = (_folder(file) / "chat_template.jinja").is_file()
    else:
        has_template = bool(_read(file).get("tokenizer.chat_template"))
    if not chat_template and not has_template:
        raise UserError(
            f"--model {file}: has no chat template: give an instruction-tuned model, or --set chat_template=FILE.jinja"
        )


def converted(file: Path, quiet: bool = False) -> Path:
    """The folder of a file's dequantized model, made if it is not there yet; a kill leaves no folder that looks whole.

    If two processes want the same folder, one of them waits. Raises UserError if the file cannot be used.
    """
    folder = _folder(file)
    if is_converted(file):
        return folder
    header, part = _read(file), folder.with_name(f"{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_converted(file):
                progress.note(f"{file.name}: dequantizing {header.quantization} weights, once: {folder}", quiet)
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                with redirect_stderr(io.StringIO()):
                    _write(header, part)
                shutil.rmtree(folder, ignore_errors=True)
                part.rename(folder)
    except OSError as error:
        raise UserError(f"{folder.parent}: {cause(error)}: set HARNESS_CACHE to a folder with room") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _header.cache_clear()  # a vocabulary's worth of small objects
    return folder


def _folder(file: Path) -> Path:
    return cache_folder() / "gguf" / f"{cached_sha256(file)}-{CONVERSION}"


def _read(file: Path) -> Header:
    """A file's whole header. Raises UserError if it is no language model that can be converted."""
    if find_spec("gguf") is None:
        raise UserError(f"--model {file}: GGUF files need the package gguf: pip install gguf")
    state = file.stat()
    header = _header(file, state.st_size, state.st_mtime_ns)
    architecture, kind = header.get("general.architecture"), header.get("general.type", "model")
    if kind == "adapter":
        raise UserError(f"--model {file}: a LoRA adapter, not a model: give its base")
    if kind == "mmproj" or architecture == "clip":
        raise UserError(f"--model {file}: an image projector (mmproj), not a language model: give the model's own file")
    if header.get("split.count", 1) > 1:
        raise UserError(f"--model {file}: one part of several: join them with `llama-gguf-split --merge`")
    if architecture not in ARCHITECTURES:
        readable = ", ".join(ARCHITECTURES)
        raise UserError(f"--model {file}: architecture {architecture} is not read here ({readable} are): {SAFETENSORS}")
    gguf_tokenizer.check(file, header)
    return header


@cache
def _header(file: Path, size: int, changed: int) -> Header:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        header = Header(file, dict(reader.fields), [tensor.tensor_type.name for tensor in reader.tensors])
        for field in reader.fields.values():
            field.contents(index_or_slice=0) if field.types[0].name == "ARRAY" else field.contents()
    except READING_ERRORS as error:
        raise UserError(f"--model {file}: no whole GGUF file ({cause(error)}): copy or download it again") from error
    if not header.types:
        raise UserError(f"--model {file}: a GGUF file without weights: give the model's own file")
    return header


def _write(header: Header, folder: Path) -> None:
    """Write a whole checkpoint folder, its record last."""
    _write_model(header, folder)
    gguf_tokenizer.tokenizer_of(header).save_pretrained(folder)
    record = {
        "sha256": cached_sha256(header.file),
        "quantization": header.quantization,
        "conversion": CONVERSION,
        "weights": _sizes(folder),
    }
    write_json(folder / RECORD, record)


def _write_model(header: Header, folder: Path) -> None:
    """Write weights, config.json and generation_config.json."""
    import torch
    from safetensors import SafetensorError
    from transformers import GenerationConfig

    model = _dequantized(header, folder / "source")
    config = copy.deepcopy(model.config)
    del config.quantization_config
    # The library refuses to save what it has read from GGUF, so its weights move into a model made by hand.
    with torch.device("meta"):
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = GenerationConfig(
        bos_token_id=header.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=header.ends,
        pad_token_id=header.get("tokenizer.ggml.padding_token_id"),
    )
    try:
        plain.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(errno.EIO, cause(error)) from error
    settings = read_json(folder / "config.json")
    write_json(folder / "config.json", settings | {"dtype": "bfloat16", "eos_token_id": header.ends})


def _dequantized(header: Header, alone: Path) -> Any:
    """The model in float16, as the library reads it; `alone` is a folder for the file, as it reads its neighbours too.

    Raises UserError unless model and file have the same weights, all of them finite.
    """
    import torch
    from transformers import AutoModelForCausalLM

    alone.mkdir()
    (alone / "model.gguf").symlink_to(real_path(header.file))
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(alone), gguf_file="model.gguf", dtype=torch.float16, output_loading_info=True
        )
    except (*READING_ERRORS, RuntimeError, ImportError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"--model {header.file}: cannot be dequantized ({cause(error)}): {SAFETENSORS}") from error
    finally:
        shutil.rmtree(alone)
    weights = dict(model.named_parameters())
    if info["missing_keys"] or len(weights) != len(header.types):
        raise UserError(
            f"--model {header.file}: holds {len(header.types)} tensors, and transformers reads "
            f"{len(weights) - len(info['missing_keys'])} of the {len(weights)} that its {model.config.model_type} has "
            f"(rope factors, as Llama 3's, are not read): {SAFETENSORS}"
        )
    if odd := next((name for name, each in weights.items() if not bool(torch.isfinite(each).all())), None):
        raise UserError(f"--model {header.file}: {odd} holds NaN or infinity: copy or download it again")
    return model
