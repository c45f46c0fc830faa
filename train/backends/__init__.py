"""The trainers by name."""

TRAINERS = {"trl": "train.backends.trl:TrlBackend"}
AUTO = "auto"


def trainer_name(name: str) -> str:
    """The trainer behind `auto` on this machine."""
    return "trl" if name == AUTO else name
