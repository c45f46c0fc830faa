"""Fuzzed: whatever the rewards are handed over ends in numbers, or in None with a reason."""

import math
from decimal import Decimal
from fractions import Fraction

from fuzzing import ODD_NUMBERS, cases, texts, values
from hypothesis import example, given
from hypothesis import strategies as st

from harness import rewards
from harness.parsing.named_formats import FORMATS
from harness.rewards.robust import READ_THE_ANSWER

TAGS = sorted({tag for format in FORMATS.values() for tag in format.tags})
replies = st.lists(
    st.one_of(st.sampled_from(TAGS), texts, st.sampled_from(("72", "1,000", "-5", "<|im_end|>", "Saya", "这是"))),
    max_size=14,
).map("".join)
presets = st.sampled_from(sorted(rewards.PRESETS))
variants = st.sampled_from(rewards.VARIANTS)
odd_answers = (10**5000, Decimal("sNaN"), Fraction(1, 3), 1j, b"72", object())
answers = st.one_of(
    st.sampled_from(("72", "0", "-5", "1,000", "x^2", None, 72, 72.0, *odd_answers)),
    st.sampled_from(ODD_NUMBERS),
    values,
)


@cases("rewards: replies")
@given(presets, variants, replies, answers)
@example("gemma3", "robust", "72", 10**5000)
@example("gemma3", "robust", "72", Decimal("sNaN"))
def test_judged_replies(preset, variant, reply, answer):
    judged = rewards.load_rewards(preset, variant).score(reply, answer)
    assert all(value is None or math.isfinite(value) for value in judged.scores.values())
    assert {name for name, value in judged.scores.items() if value is None} == judged.reasons.keys()
    assert {name for name, value in judged.scores.items() if value is not None} == judged.whys.keys()


def message(text: object) -> list[dict]:
    return [{"role": "assistant", "content": text}]


@cases("rewards: batches")
@given(
    presets,
    variants,
    st.lists(st.one_of(replies, replies.map(message), values, values.map(message)), max_size=4),
    st.one_of(st.lists(answers, max_size=5), values),
    values,
)
def test_batches_as_trl_hands_them_over(preset, variant, completions, truths, other):
    for function in rewards.functions(preset, variant):
        paid = function(prompts=other, completions=completions, answer=truths, kind=other)
        assert len(paid) <= len(completions)
        assert all(value is None or math.isfinite(value) for value in paid)
        if variant == "robust":
            assert len(paid) == len(completions)
            if function.__name__ not in READ_THE_ANSWER:
                assert [value is None for value in paid] == [said(completion) is None for completion in completions]


def said(completion: object) -> str | None:
    """The text of a completion as TRL hands it over, plain or as messages."""
    if isinstance(completion, list):
        completion = completion[-1].get("content") if completion and isinstance(completion[-1], dict) else None
    return completion if isinstance(completion, str) else None
