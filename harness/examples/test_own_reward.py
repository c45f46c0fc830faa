"""Fails, naming row and function, when own_reward.py no longer gives what own_reward.jsonl says."""

from pathlib import Path

from harness.testing import assert_rewards_match

HERE = Path(__file__).parent


def test_rewards_pay_what_they_paid():
    assert_rewards_match(HERE / "own_reward.py", HERE / "own_reward.jsonl")
