"""What an adapter's files show without loading a model: its rank, whether it fits a base, why it would do nothing."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models import adapter_kinds, adapter_layers, checkpoint_checks, checkpoints, quantized

WEIGHTS = "adapter_model.safetensors"
# base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight -> the module's path, A or B
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight$")
# The name of a layer without what it is wrapped in: layers.0.self_attn.q_proj
_LAYER = re.compile(r"(?:^|\.)(layers\.\d+\..+?)(?:\.weight)?$")
# A copy of the base's own weight beside a LoRA on an embedding; rows that stand for single tokens.
COPY_OF_BASE, TOKENS_ALONE = ".base_layer.weight", ".trainable_tokens_delta"
ON_EMBEDDINGS = (".lora_embedding_A", TOKENS_ALONE)
# The halves with which PEFT lets a LoRA change nothing at first: of an embedding it is the other one.
ZERO_AT_FIRST = ("lora_B", "lora_embedding_A")
NOT_LANGUAGE = ("vision", "audio", "multi_modal", "visual")


def check(adapter: str, checkpoint: str, beside_base: bool = True) -> None:
    """Raise UserError if a folder holds no whole LoRA adapter, or one that was made for another base.

    `beside_base`: the base generates too, so the adapter may not replace weights of the base.
    """
    folder = Path(adapter)
    settings = _settings(folder)
    if settings.get("peft_type") != "LORA":
        raise UserError(f"--adapter {adapter}: no adapter_config.json of a LoRA there: give a PEFT adapter's folder")
    adapter_layers.check_settings(adapter, settings)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"--adapter {adapter}: no {WEIGHTS} there: save the adapter as safetensors")
    checkpoint_checks.check_weights(folder)
    adapter_kinds.check(adapter, checkpoint, settings, beside_base)
    if beside_base:
        _refuse_whole_weights(adapter, checkpoint, settings)
    base, halves = _base_shapes(checkpoint), _halves(folder)
    adapter_layers.check_expressions(adapter, settings, {module for module, _ in halves})
    if base is None:
        return
    if not halves and not any(part in key for key in _shapes(folder / WEIGHTS) for part in ON_EMBEDDINGS):
        raise UserError(f"--adapter {adapter}: no lora_A or lora_B in its {WEIGHTS}: give a PEFT adapter's folder")
    with adapter_layers.expressions(adapter):
        _check_fit(adapter, checkpoint, settings, halves, base)


def _check_fit(
    adapter: str,
    checkpoint: str,
    settings: dict[str, Any],
    halves: dict[tuple[str, str], list[int]],
    base: dict[str, list[int]],
) -> None:
    """Raise UserError if shapes or layers are not those of the base and of the adapter's configuration."""
    modules = {}
    for (module, half), shape in halves.items():
        layer = _LAYER.search(module)
        if not layer or any(part in module for part in NOT_LANGUAGE):
            continue
        if len(shape) != 2:
            raise UserError(f"--adapter {adapter}: its lora_{half} of {layer[1]} is no matrix: copy the adapter again")
        if layer[1] not in base:
            if settings.get("target_parameters") and _holds_parameters(layer[1], base):
                continue
            raise UserError(
                f"--adapter {adapter}: made for another base: {checkpoint} has no {layer[1]}: give its own adapter"
            )
        modules[module] = layer[1]
        (width, rank), there = (shape[::-1], base[layer[1]][1]) if half == "A" else (shape, base[layer[1]][0])
        if width != there:
            raise UserError(
                f"--adapter {adapter}: made for another base: its {layer[1]} is {width} wide, that of {checkpoint} "
                f"{there}: give its own adapter"
            )
        stated_rank = adapter_layers.rank_of(settings, module)
        if rank != stated_rank:
            raise UserError(
                f"--adapter {adapter}: its lora_{half} of {layer[1]} has rank {rank}, its adapter_config.json says "
                f"{stated_rank}: bring the file that belongs to this configuration"
            )
    if modules:
        text = checkpoints.model_config(checkpoint)
        layers = (text.get("text_config") or text).get("num_hidden_layers")
        adapter_layers.check_layers(adapter, settings, modules, base, layers if type(layers) is int else None)


def _holds_parameters(layer: str, base: dict[str, list[int]]) -> bool:
    """Whether a module holds weights of its own that PEFT adapts as they are, several in one place: experts."""
    module = layer.removesuffix(".base_layer")
    return any(name.startswith(f"{module}.") for name in base)


def _refuse_whole_weights(adapter: str, checkpoint: str, settings: dict[str, Any]) -> None:
    """Raise UserError for weights that replace the base's own: then the base could not generate beside the adapter."""
    wrapped = tuple(settings.get("modules_to_save") or ())
    for key in _shapes(Path(adapter) / WEIGHTS):
        if "lora_" in key or any(f".{module}." in key for module in wrapped) or key.endswith(TOKENS_ALONE):
            continue
        if key.endswith(COPY_OF_BASE) and _is_of_base(Path(adapter), key, checkpoint):
            continue
        raise UserError(
            f"--adapter {adapter}: holds {key}, which replaces a weight of the base itself: "
            f"{adapter_kinds.merge(adapter, checkpoint)}"
        )


def _is_of_base(adapter: Path, key: str, checkpoint: str) -> bool:
    """Whether a weight that PEFT saves with a LoRA on an embedding equals the base's.

    True if the base's files are not on this machine.
    """
    from safetensors import safe_open

    folder = Path(checkpoints.locate(checkpoint))
    # If input and output embedding share one weight, the files have only the input's.
    names = (f"{key.removesuffix(COPY_OF_BASE).rpartition('.')[2]}.weight", "embed_tokens.weight")
    with safe_open(adapter / WEIGHTS, framework="pt") as tensors:
        here = tensors.get_tensor(key)
    for name in names:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                for name_there in filter(lambda each: each.endswith(name), tensors.keys()):
                    there = tensors.get_tensor(name_there)
                    if not any(part in name_there for part in NOT_LANGUAGE) and there.is_floating_point():
                        return here.shape == there.shape and bool((here.to(there.dtype) == there).all())
    return True


def rank(adapter: str) -> int:
    """The largest rank of its layers."""
    settings = _settings(Path(adapter))
    return max([settings["r"], *(settings.get("rank_pattern") or {}).values()])


def why_inert(adapter: str, checkpoint: str) -> str:
    """The likeliest reason why a base with this adapter generates what the base alone does."""
    from safetensors.torch import load_file

    tensors = load_file(Path(adapter) / WEIGHTS)
    zero_at_first = keys_zero_at_first(tensors)
    if zero_at_first and not any(bool(tensors[key].any()) for key in zero_at_first):
        halves = " and ".join(half for half in ZERO_AT_FIRST if any(half in key for key in zero_at_first))
        return f"all its {len(zero_at_first)} {halves} are zero: it was never trained"
    wrapped = is_wrapper(checkpoint)
    if wrapped and not any("language_model" in key for key in tensors):
        return (
            "its keys lack `language_model`, which this multimodal checkpoint puts around its layers: "
            "it was trained on the text-only model; rename its keys or evaluate it on that model"
        )
    if not wrapped and any("language_model" in key for key in tensors):
        return "its keys name a `language_model`, which this text-only checkpoint lacks: it was trained on the wrapper"
    return f"the engine ignores its {len(tensors)} tensors (the first: {min(tensors, default='none')})"


def keys_zero_at_first(tensors: Mapping[str, Any]) -> list[str]:
    """The keys of an adapter's tensors that were zero before any training."""
    return [key for key in tensors if any(half in key for half in ZERO_AT_FIRST)]


def is_wrapper(checkpoint: str) -> bool:
    """Whether a checkpoint is a multimodal wrapper around a language model."""
    return "text_config" in checkpoints.model_config(checkpoint)


def check_expressions(adapter: str, modules: Iterable[str]) -> None:
    """Raise UserError if PEFT could not match the modules of a model with the adapter's expressions, or not in time."""
    if settings := _settings(Path(adapter)):  # without any, PEFT says what is missing
        adapter_layers.check_expressions(adapter, settings, modules)


def _settings(folder: Path) -> dict[str, Any]:
    settings = checkpoints.read_json(folder / "adapter_config.json")
    return settings if isinstance(settings, dict) else {}


def _halves(folder: Path) -> dict[tuple[str, str], list[int]]:
    """The shape of each lora_A and lora_B, by (module, half)."""
    shapes = {}
    for key, shape in _shapes(folder / WEIGHTS).items():
        match = _KEY.match(key)
        if match:
            shapes[match["module"], match["half"]] = shape
    return shapes


def _base_shapes(checkpoint: str) -> dict[str, list[int]] | None:
    """The shape of each layer's weight by `layers.N.…`; None if no file here shows it (a hub id, 4-bit weights)."""
    folder = Path(checkpoints.locate(checkpoint))
    if not folder.is_dir() or quantized.is_quantized(checkpoints.model_config(checkpoint)):
        return None
    shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        for key, shape in _shapes(file).items():
            layer = _LAYER.search(key)
            if layer and not any(part in key for part in NOT_LANGUAGE):
                shapes[layer[1]] = shape
    return shapes


def _shapes(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor, from the header alone, which is JSON after its length."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {key: entry["shape"] for key, entry in header.items() if key != "__metadata__"}
