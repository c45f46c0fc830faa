"""For a pytest of your own: hold your reward functions against a corpus of scored replies."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness import corpora
from harness.rewards.own import OwnRewards

SHOWN = 20


def assert_rewards_match(
    rewards: str | Path | Sequence[Callable], corpus: str | Path, *, variant: str = "tutorial", eos: str | None = None
) -> None:
    """AssertionError with every drift where `rewards` no longer pay what the rows of `corpus` expect.

    `rewards`: a Python file with TRL-style functions, a list of such functions, or a preset's name (then `variant`
    and `eos` count). `corpus`: what `harness rewards score --output` wrote. A row that cannot be checked fails too.
    """
    if isinstance(rewards, str | Path):
        judges = corpora.open_rewards(str(rewards), variant, eos)
    else:
        judges = OwnRewards(list(rewards), plain=False)
    checked = corpora.check(Path(corpus), lambda row: judges)
    lines = [
        f"{drift.row}: {drift.function}: expected {drift.expected}, got {drift.got} ({drift.why})"
        for drift in checked.drifts
    ]
    lines += checked.faults
    if lines:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise AssertionError("\n".join([f"{corpus}: {len(lines)} rows drifted", *lines[:SHOWN], *more]))
