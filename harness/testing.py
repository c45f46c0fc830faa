"""For a pytest of your own: compare your reward functions with a corpus of scored replies."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.data.samples import Sample
from harness.rewards import corpora
from harness.rewards.own import OwnRewards

SHOWN = 20


def assert_rewards_match(
    rewards: str | Path | Sequence[Callable],
    corpus: str | Path,
    *,
    variant: str | None = None,
    eos: str | None = None,
    plain: bool = False,
) -> None:
    """Check that `rewards` score the rows of `corpus` as stored; raises AssertionError with every drift otherwise.

    `rewards`: a Python file with TRL-style functions, a list of such functions (`plain`: they take texts, not
    messages), or a preset's name (then `variant` and `eos` count, where the rows name none). `corpus`: what
    `harness rewards score --output` wrote. A row that cannot be checked fails too.
    """
    if isinstance(rewards, str | Path):
        rewards_of = corpora.rewards_of_rows(str(rewards), variant, eos, plain=plain)
    else:
        own = OwnRewards(list(rewards), plain)

        def rewards_of(_: Sample) -> OwnRewards:
            return own

    checked = corpora.check(Path(corpus), rewards_of)
    lines = [
        f"{drift.row}: {drift.function}: expected {drift.expected}, got {drift.got} ({drift.why})"
        for drift in checked.drifts
    ]
    lines += checked.faults or ([] if checked.rows else ["no row to check"])
    if lines:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise AssertionError("\n".join([f"{corpus}: {len(lines)} findings", *lines[:SHOWN], *more]))
