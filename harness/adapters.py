"""What an adapter's files say of it, no model loaded: its rank, whether it fits a base, why it would do nothing."""

import json
import re
from pathlib import Path
from typing import Any

from harness import checkpoints
from harness.errors import UserError

WEIGHTS = "adapter_model.safetensors"
# base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight -> the module's path, A or B
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight$")
# What names a layer whatever it is wrapped in: layers.0.self_attn.q_proj
_LAYER = re.compile(r"(?:^|\.)(layers\.\d+\..+?)(?:\.weight)?$")
NOT_LANGUAGE = ("vision", "audio", "multi_modal", "visual")


def check(adapter: str, checkpoint: str) -> None:
    """A UserError where a folder holds no whole LoRA adapter, or one that was made for another base."""
    folder = Path(adapter)
    settings = _settings(folder)
    if settings.get("peft_type") != "LORA":
        raise UserError(f"--adapter {adapter}: no adapter_config.json of a LoRA there: give a PEFT adapter's folder")
    _refuse_odd_figures(adapter, settings)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"--adapter {adapter}: no {WEIGHTS} there: save the adapter as safetensors")
    checkpoints.check_weights(folder)
    _refuse_whole_weights(adapter, settings)
    base = _base_shapes(checkpoint)
    if base is None:
        return
    halves = _halves(folder)
    if not halves:
        raise UserError(f"--adapter {adapter}: no lora_A or lora_B in its {WEIGHTS}: give a PEFT adapter's folder")
    for (module, half), shape in halves.items():
        layer = _LAYER.search(module)
        if not layer or any(part in module for part in NOT_LANGUAGE):
            continue
        if len(shape) != 2:
            raise UserError(f"--adapter {adapter}: its lora_{half} of {layer[1]} is no matrix: copy the adapter again")
        if layer[1] not in base:
            raise UserError(
                f"--adapter {adapter}: made for another base: {checkpoint} has no {layer[1]}: give its own adapter"
            )
        there = base[layer[1]][1 if half == "A" else 0]
        here = shape[1 if half == "A" else 0]
        if here != there:
            raise UserError(
                f"--adapter {adapter}: made for another base: its {layer[1]} is {here} wide, that of {checkpoint} "
                f"{there}: give its own adapter"
            )


def _refuse_odd_figures(adapter: str, settings: dict[str, Any]) -> None:
    """A UserError for settings that no adapter can have."""
    ranks, modules = settings.get("rank_pattern") or {}, settings.get("modules_to_save") or []
    wrong = {
        "rank_pattern": not isinstance(ranks, dict) or not all(map(_is_rank, ranks.values())),
        "modules_to_save": not isinstance(modules, list) or not all(isinstance(each, str) for each in modules),
        "r": not _is_rank(settings.get("r")),
    }
    for key in (key for key, is_wrong in wrong.items() if is_wrong):
        raise UserError(f"--adapter {adapter}: {key} of its adapter_config.json is none: copy the adapter again")


def _is_rank(value: object) -> bool:
    return type(value) is int and value > 0


def _refuse_whole_weights(adapter: str, settings: dict[str, Any]) -> None:
    """A UserError for weights that replace the base's own: then the base could not answer beside the adapter."""
    wrapped = tuple(settings.get("modules_to_save") or ())
    for key in _shapes(Path(adapter) / WEIGHTS):
        if "lora_" not in key and not any(f".{module}." in key for module in wrapped):
            raise UserError(
                f"--adapter {adapter}: holds {key}, which replaces a weight of the base itself: merge it into the base "
                "and give the merged checkpoint as --model"
            )


def rank(adapter: str) -> int:
    """The largest rank of its layers."""
    settings = _settings(Path(adapter))
    return max([settings["r"], *(settings.get("rank_pattern") or {}).values()])


def why_inert(adapter: str, checkpoint: str) -> str:
    """The likeliest reason that a base with this adapter says what the base says."""
    from safetensors.torch import load_file

    folder = Path(adapter)
    moved = [bool(tensor.any()) for key, tensor in load_file(folder / WEIGHTS).items() if "lora_B" in key]
    if not any(moved):
        return f"all its {len(moved)} lora_B are zero: it was never trained"
    modules = {module for module, _ in _halves(folder)}
    wrapped = is_wrapper(checkpoint)
    if wrapped and not any("language_model" in module for module in modules):
        return (
            "its keys lack `language_model`, which this multimodal checkpoint puts around its layers: "
            "it was trained on the text-only model; rename its keys or evaluate it on that model"
        )
    if not wrapped and any("language_model" in module for module in modules):
        return "its keys name a `language_model`, which this text-only checkpoint lacks: it was trained on the wrapper"
    return f"the engine takes no notice of its {len(modules)} modules (the first: {sorted(modules)[0]})"


def is_wrapper(checkpoint: str) -> bool:
    """Whether a checkpoint is a multimodal wrapper around a language model."""
    return "text_config" in checkpoints.model_config(checkpoint)


def _settings(folder: Path) -> dict[str, Any]:
    settings = checkpoints.read_json(folder / "adapter_config.json")
    return settings if isinstance(settings, dict) else {}


def _halves(folder: Path) -> dict[tuple[str, str], list[int]]:
    """The shape of each lora_A and lora_B, by (module, half)."""
    found = {}
    for key, shape in _shapes(folder / WEIGHTS).items():
        match = _KEY.match(key)
        if match:
            found[match["module"], match["half"]] = shape
    return found


def _base_shapes(checkpoint: str) -> dict[str, list[int]] | None:
    """The shape of each layer's weight by `layers.N.…`; None where no file here shows it (a hub id, 4-bit weights)."""
    folder = Path(checkpoints.locate(checkpoint))
    if not folder.is_dir() or "quantization_config" in checkpoints.model_config(checkpoint):
        return None
    shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        for key, shape in _shapes(file).items():
            layer = _LAYER.search(key)
            if layer and key.endswith(".weight") and not any(part in key for part in NOT_LANGUAGE):
                shapes[layer[1]] = shape
    return shapes


def _shapes(file: Path) -> dict[str, list[int]]:
    """Out of the header alone, which is JSON behind its length."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {key: entry["shape"] for key, entry in header.items() if key != "__metadata__"}
