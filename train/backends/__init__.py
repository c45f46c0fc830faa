"""The trainers by name."""

from importlib.util import find_spec

TRAINERS = {
    "trl": "train.backends.trl:TrlBackend",
    "unsloth": "train.backends.unsloth:UnslothBackend [gpu]",
}
AUTO = "auto"


def trainer_name(name: str) -> str:
    """The trainer behind `auto` on this machine: Unsloth where it and a GPU are, else plain TRL."""
    if name != AUTO:
        return name
    return "unsloth" if _has_unsloth_and_gpu() else "trl"


def _has_unsloth_and_gpu() -> bool:
    if find_spec("unsloth") is None:
        return False
    # Unsloth must be imported before torch's users are; torch alone may be there.
    import torch

    return torch.cuda.is_available()
