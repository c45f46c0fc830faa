"""The trainers by name, and the settings that a machine without a GPU replaces."""

from importlib.util import find_spec

from harness.config import Configuration
from harness.models import adapters, checkpoints
from harness.models.precision import why_not_4bit

TRAINERS = {
    "trl": "train.backends.trl:TrlBackend",
    "unsloth": "train.backends.unsloth:UnslothBackend [gpu]",
}
AUTO = "auto"
# Parameters. A step of more would take a CPU the better part of an hour.
LARGEST_ON_CPU = 1e9
# Parameters. A step of GRPO of a smaller model takes Unsloth twice as long as plain TRL (train/README.md, Speed).
SMALLEST_FOR_UNSLOTH = 1e9


def trainer_name(config: Configuration, parameters: float | None = None) -> str:
    """The trainer behind `auto` here: Unsloth if it and a GPU are there, it can train this and the model is no small
    one, else plain TRL.

    `parameters` are the model's, 0 if they are not known; left out they are computed from the checkpoint's config.json.
    """
    if config.trainer != AUTO:
        return config.trainer
    needs_trl = config.launcher or config.rollouts == "server" or config.trust_remote_code
    if needs_trl or not (find_spec("unsloth") and has_gpu()):
        return "trl"
    if parameters is None:
        parameters = checkpoints.parameters(config.checkpoint)
    is_small = config.weights == "16-bit" and 0 < parameters < SMALLEST_FOR_UNSLOTH
    return "trl" if is_small else "unsloth"


def has_gpu() -> bool:
    # Unsloth must be imported before transformers; torch alone may be there.
    import torch

    return torch.cuda.is_available()


def fitted(config: Configuration, trainer: str) -> tuple[Configuration, dict[str, str]]:
    """`config` as this machine and trainer can run it, and what was replaced, by key, with the reason."""
    gpu, changes = has_gpu(), {}
    if config.weights == "4-bit" and not gpu:
        changes["weights"] = ("16-bit", why_not_4bit(gpu))
    if config.optimizer.endswith("8bit") and not (gpu and find_spec("bitsandbytes")):
        changes["optimizer"] = ("adamw_torch", f"{config.optimizer} needs a GPU and bitsandbytes")
    if config.rollouts == "vllm" and not (gpu and find_spec("vllm")):
        changes["rollouts"] = ("generate", "no GPU or no vLLM here: using transformers to generate (slower)")
    elif config.rollouts != "generate" and trainer == "trl" and adapters.is_wrapper(config.checkpoint):
        changes["rollouts"] = ("generate", "TRL cannot hand this multimodal wrapper's weights to vLLM")
    if config.importance_correction and "generate" in (config.rollouts, *changes.get("rollouts", ())):
        changes["importance_correction"] = (False, "it is for vLLM's rollouts")
    if config.gradient_checkpointing == "unsloth" and trainer != "unsloth":
        changes["gradient_checkpointing"] = (True, "Unsloth's own is not in TRL")
    values = {key: value for key, (value, _) in changes.items()}
    reasons = {key: f"{getattr(config, key)} -> {value}: {why}" for key, (value, why) in changes.items()}
    return config.model_copy(update=values), reasons
