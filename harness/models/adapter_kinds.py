"""Kinds of LoRA that change the base's own weights as they are loaded, or that no engine here applies as PEFT does."""

from typing import Any

from harness.errors import UserError

# Values of init_lora_weights with which PEFT leaves the base's weights as they are.
PLAIN = (None, True, False, "gaussian", "orthogonal", "eva", "mica")
# With these it takes from them, at each loading again, what the adapter began with. With others (pissa_niter_4,
# corda, lora_ga) that was chance or data, which the adapter's files do not hold.
REPEATED = ("pissa", "olora", "loftq")
# Kinds that no engine here applies as PEFT does, and what to do instead.
NOT_APPLIED = {
    "layer_replication": "repeats layers of the base: merge it by PEFT's merge_and_unload(), and give that as --model",
    "alora_invocation_tokens": "acts behind certain tokens alone, which is not done here: train a plain LoRA",
    "arrow_config": "mixes several adapters, which is not done here: give one of them",
    "megatron_config": "is for Megatron's layers: save it for transformers' layers",
}


def check(adapter: str, checkpoint: str, settings: dict[str, Any], beside_base: bool) -> None:
    """Raise UserError for a kind that would be measured wrongly; `beside_base` as in adapters.check."""
    for key, why in NOT_APPLIED.items():
        if settings.get(key):
            raise UserError(f"--adapter {adapter}: its {key} {why}")
    began = _began(settings)
    if began not in (*PLAIN, *REPEATED):
        raise UserError(
            f"--adapter {adapter}: its init_lora_weights = {began!s:.40} changed the base in a way that is not in its "
            "files: where it was trained, save it as a plain LoRA: "
            "save_pretrained(FOLDER, path_initial_model_for_weight_conversion=…)"
        )
    if beside_base and (key := changes_base(settings)):
        raise UserError(
            f"--adapter {adapter}: its {key} changes the base's own weights as it is loaded: "
            f"{merge(adapter, checkpoint)}"
        )


def changes_base(settings: dict[str, Any]) -> str:
    """The setting with which PEFT changes the base's own weights, so that they stay so with the adapter off; or ''."""
    began = _began(settings)
    if began not in PLAIN:
        return f"init_lora_weights = {began!s:.40}"
    return "kasa_config" if settings.get("kasa_config") else ""


def _began(settings: dict[str, Any]) -> Any:
    began = settings.get("init_lora_weights", True)
    return began.lower() if isinstance(began, str) else began


def merge(adapter: str, checkpoint: str) -> str:
    """The fix for an adapter beside which the base cannot be measured."""
    return (
        f"merge it (harness export --to merged-16bit --model {checkpoint} --adapter {adapter}) and give the merged "
        "checkpoint as --model"
    )
