"""Adapter and merged weights as transformers and PEFT load them."""

import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import cached_file

from harness import adapters, checkpoints, progress
from harness.engines.transformers import with_adapter
from harness.errors import UserError
from harness.store import write_json
from train.export import Export

# What transformers does not write itself, or not as it was: llama.cpp reads a Gemma's words from tokenizer.model.
KEPT = ("generation_config.json", "tokenizer.model", "preprocessor_config.json", "processor_config.json")
NOT_IN_4_BITS = ["lm_head", "vision_tower", "multi_modal_projector"]


def write_lora(export: Export, folder: Path, quiet: bool) -> None:
    """The adapter as it is, and the tokenizer that its prompts were rendered with."""
    settings = checkpoints.read_json(Path(export.adapter) / "adapter_config.json")
    write_json(folder / "adapter_config.json", settings | {"base_model_name_or_path": export.base})
    shutil.copyfile(Path(export.adapter) / adapters.WEIGHTS, folder / adapters.WEIGHTS)
    _write_tokenizer(export, folder)


def write_16bit(export: Export, folder: Path, quiet: bool) -> None:
    """The merged checkpoint in the base's own 16-bit type; a float32 base is rounded to bfloat16."""
    model = _merge(export, quiet)
    progress.note("export: writing 16-bit weights", quiet)
    # A checkpoint's own settings may be such as transformers reads but refuses to write; its file is copied instead.
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.save_pretrained(folder)
    _write_companions(export, folder)


def write_4bit(export: Export, folder: Path, quiet: bool) -> None:
    """The merged checkpoint in bitsandbytes' nf4; embeddings, lm_head and a vision tower stay as they were."""
    with TemporaryDirectory(dir=folder) as plain:
        write_16bit(export, Path(plain), quiet)
        progress.note("export: rounding to 4 bits", quiet)
        dtype = checkpoints.model_config(plain)["dtype"]
        rounding = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=NOT_IN_4_BITS,
        )
        model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=rounding, dtype=dtype)
        model.generation_config = GenerationConfig.from_model_config(model.config)
        model.save_pretrained(folder)
    _write_companions(export, folder)


def _merge(export: Export, quiet: bool) -> Any:
    """The base with the adapter in its weights, in 16 bits; a UserError where that changes none of them."""
    progress.note(f"export: loading {export.checkpoint}", quiet)
    model = checkpoints.load(AutoModelForCausalLM, export.checkpoint, dtype="auto")
    dtype = torch.bfloat16 if model.dtype == torch.float32 else model.dtype
    adapted = with_adapter(model, export.adapter)
    progress.note("export: merging", quiet)
    try:
        with warnings.catch_warnings(action="ignore"):  # that the layers are merged already, which is what we want
            moved = sum([_merge_layer(layer, dtype) for layer in adapted.modules() if isinstance(layer, LoraLayer)])
            merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UserError(f"--adapter {export.adapter}: cannot be merged ({error}): export --to lora") from error
    if not moved:
        raise UserError(f"--adapter {export.adapter}: merging it changes no weight: {_why_unmoved(adapted, export)}")
    return merged.to(dtype)


def _merge_layer(layer: LoraLayer, dtype: torch.dtype) -> bool:
    """Merge one layer in float32 and round once; whether any of its weights is another one then."""
    base = layer.get_base_layer()
    before = [parameter.detach().to(dtype, copy=True) for parameter in base.parameters()]
    base.float()
    layer.merge(safe_merge=True)
    base.to(dtype)
    return any(not torch.equal(old, new) for old, new in zip(before, base.parameters(), strict=True))


def _why_unmoved(adapted: PeftModel, export: Export) -> str:
    if any(bool(value.any()) for name, value in adapted.named_parameters() if "lora_B" in name):
        return "it is too small for 16-bit weights: export --to lora"
    return adapters.why_inert(export.adapter, export.checkpoint)


def _write_tokenizer(export: Export, folder: Path) -> None:
    tokenizer = checkpoints.load(AutoTokenizer, export.checkpoint)
    if export.chat_template:
        tokenizer.chat_template = export.chat_template
    tokenizer.save_pretrained(folder)


def _write_companions(export: Export, folder: Path) -> None:
    """All that a checkpoint has beside its weights and config.json."""
    _write_tokenizer(export, folder)
    for name in KEPT:
        found = cached_file(
            checkpoints.locate(export.checkpoint),
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found:
            shutil.copyfile(found, folder / name)
