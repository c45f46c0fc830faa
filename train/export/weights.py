"""Adapter and merged weights as transformers and PEFT load them."""

import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import cached_file

from harness.console import progress
from harness.engines.transformers import with_adapter
from harness.errors import UserError
from harness.models import adapters, chat, checkpoints, loading
from harness.storage.files import write_json
from train.export import Export

# Files that transformers does not write, or changes: llama.cpp reads a Gemma's words from tokenizer.model.
COPIED = ("generation_config.json", "tokenizer.model", "preprocessor_config.json", "processor_config.json")
KEPT_SHARE = "kept_in_16_bits"
LEAST_SHARE = 0.01
NOT_IN_4_BITS = ["lm_head", "vision_tower", "multi_modal_projector"]


def write_lora(export: Export, folder: Path, quiet: bool) -> dict[str, float]:
    """Write the adapter as it is, and the tokenizer that its prompts were rendered with."""
    settings = checkpoints.read_json(Path(export.adapter) / "adapter_config.json")
    write_json(folder / "adapter_config.json", settings | {"base_model_name_or_path": export.base})
    shutil.copyfile(Path(export.adapter) / adapters.WEIGHTS, folder / adapters.WEIGHTS)
    _write_tokenizer(export, folder)
    return {}


def write_16bit(export: Export, folder: Path, quiet: bool) -> dict[str, float]:
    """Write the merged checkpoint in the base's own 16-bit type (a float32 base's is bfloat16); returns KEPT_SHARE."""
    model, share = _merge(export, quiet)
    progress.note("export: writing 16-bit weights", quiet)
    # A checkpoint's own settings may be such as transformers reads but refuses to write; its file is copied instead.
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.save_pretrained(folder)
    _write_companions(export, folder)
    return {KEPT_SHARE: round(share, 4)}


def write_4bit(export: Export, folder: Path, quiet: bool) -> dict[str, float]:
    """Write the merged checkpoint in bitsandbytes' nf4; embeddings, lm_head and a vision tower stay as they were."""
    with TemporaryDirectory(dir=folder) as plain:
        facts = write_16bit(export, Path(plain), quiet)
        progress.note("export: rounding to 4 bits", quiet)
        dtype = checkpoints.model_config(plain)["dtype"]
        rounding = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=NOT_IN_4_BITS,
        )
        model = loading.load_model(plain, export.trust, quantization_config=rounding, dtype=dtype)
        model.generation_config = GenerationConfig.from_model_config(model.config)
        model.save_pretrained(folder)
    _write_companions(export, folder)
    return facts


def _merge(export: Export, quiet: bool) -> tuple[Any, float]:
    """Merge the adapter into the base's weights, in 16 bits; with the share of the adapter that is left there."""
    progress.note(f"export: loading {export.checkpoint}", quiet)
    model = loading.load_model(export.checkpoint, export.trust, dtype="auto")
    is_wide = model.dtype == torch.float32
    dtype = torch.bfloat16 if is_wide else model.dtype
    adapted = with_adapter(model, export.adapter)
    _refuse_on_shared_weight(adapted, export.adapter)
    progress.note("export: merging", quiet)
    try:
        with warnings.catch_warnings(action="ignore"):  # that the layers are merged already, as intended
            layers = [layer for layer in adapted.modules() if isinstance(layer, LoraLayer)]
            kept, whole = (sum(part) for part in zip(*(_merge_layer(layer, dtype) for layer in layers), strict=True))
            merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UserError(f"--adapter {export.adapter}: cannot be merged ({error}): export --to lora") from error
    if not whole:
        raise UserError(f"--adapter {export.adapter}: {adapters.why_inert(export.adapter, export.checkpoint)}")
    share = kept / whole
    if share < LEAST_SHARE:
        raise UserError(
            f"--adapter {export.adapter}: so small that {share:.1%} of it are left in 16-bit weights: export --to lora"
        )
    progress.note(f"export: {share:.1%} of what the adapter changes are left in 16-bit weights", quiet)
    # A 16-bit checkpoint's few float32 weights stay as they are.
    return merged.to(dtype) if is_wide else merged, share


def _refuse_on_shared_weight(adapted: Any, adapter: str) -> None:
    """Raises UserError for a LoRA on one end of a model whose two ends are one weight: merged, it would change both."""
    ends = adapted.get_input_embeddings(), adapted.get_output_embeddings()
    bases = [end.get_base_layer() if isinstance(end, LoraLayer) else end for end in ends]
    if any(isinstance(end, LoraLayer) for end in ends) and bases[0].weight is bases[1].weight:
        raise UserError(
            f"--adapter {adapter}: adapts embed_tokens or lm_head, which are one weight in this base, so a merge would "
            "change both: export --to lora"
        )


@torch.no_grad()
def _merge_layer(layer: LoraLayer, dtype: torch.dtype) -> tuple[float, float]:
    """Merge one layer in float32 and round once: how far its weights moved along the adapter's change, and that change.

    Both are squared lengths: a change that is below half a step of the 16-bit numbers is lost, and the first is less.
    """
    base = layer.get_base_layer()
    before = [parameter.float().clone() for parameter in base.parameters()]
    base.float()
    layer.merge(safe_merge=True)
    change = [new - old for old, new in zip(before, base.parameters(), strict=True)]
    base.to(dtype)
    moved = [new.float() - old.to(dtype).float() for old, new in zip(before, base.parameters(), strict=True)]
    pairs = list(zip(change, moved, strict=True))
    return sum(float((a * b).sum()) for a, b in pairs), sum(float((a * a).sum()) for a, _ in pairs)


def _write_tokenizer(export: Export, folder: Path) -> None:
    tokenizer = loading.load(AutoTokenizer, export.checkpoint, export.trust)
    chat.settle(tokenizer, export.chat_template, export.switches, export.checkpoint)
    tokenizer.save_pretrained(folder)


def _write_companions(export: Export, folder: Path) -> None:
    """Write all that a checkpoint has beside its weights and config.json."""
    _write_tokenizer(export, folder)
    for name in COPIED:
        file = cached_file(
            checkpoints.locate(export.checkpoint),
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if file:
            shutil.copyfile(file, folder / name)
