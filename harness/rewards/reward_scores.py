"""What reward functions give one completion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

Reward = Callable[..., list[float | None]]
NO_TEXT = "the completion is no text"
EMPTY: Mapping[str, object] = {}


class RewardScore(NamedTuple):
    """What one function gives, and why, in a few words."""

    value: float
    why: str


@dataclass(frozen=True)
class RewardScores:
    """Every function's score by name, or None with the reason; `whys` has a line for each that is a number.

    `extracted` is the answer that the preset's own layout gave.
    """

    scores: dict[str, float | None]
    reasons: dict[str, str]
    whys: dict[str, str]
    extracted: str | None
