"""What one reward function says of one reply."""

from typing import NamedTuple


class Payment(NamedTuple):
    """What a reply earns, and why, in a few words."""

    value: float
    why: str
