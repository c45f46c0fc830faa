"""Plain TRL and PEFT, on whatever device there is."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

from harness.config import Configuration
from harness.models import adapters, loading
from harness.models.precision import four_bit, training_dtype


class TrlBackend:
    """Loads the model that TRL trains."""

    name = "trl"

    def load(self, config: Configuration, adapter: Path | None) -> tuple[Any, LoraConfig | None]:
        """Load the model, and the settings of a fresh adapter; None if the model continues with `adapter`."""
        dtype = training_dtype(config)
        rounded = four_bit(dtype) if config.weights == "4-bit" else {}
        model = loading.load_model(config.checkpoint, config.trust_remote_code, dtype=getattr(torch, dtype), **rounded)
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_targets),
            exclude_modules=f".*({'|'.join(adapters.NOT_LANGUAGE)}).*"
            if adapters.is_wrapper(config.checkpoint)
            else None,
            task_type="CAUSAL_LM",
        )
        return (with_stored_adapter(get_peft_model(model, lora), adapter), None) if adapter else (model, lora)


def with_stored_adapter(model: Any, adapter: Path) -> Any:
    """`model`, a PEFT model, with the weights of a stored adapter."""
    set_peft_model_state_dict(model, load_peft_weights(str(adapter), device="cpu"))
    return model
