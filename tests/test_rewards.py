import pytest

from harness import rewards
from harness.formats import FORMATS

GOOD = "<start_working_out>\n48 + 24\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"

# (preset, reply, truth, pay of each function in the preset's order)
PAID = [
    ("gemma3", GOOD.format("72"), "72", [3.0, 2.0, 3.0, 1.5]),
    ("gemma3", GOOD.format("$72"), "72", [3.0, 2.0, 3.0, 1.5]),
    ("gemma3", GOOD.format("48 + 24 = 72"), "72", [3.0, 2.0, 3.0, 1.5]),
    ("gemma3", GOOD.format("1,000"), "1000", [3.0, 2.0, 3.0, 1.5]),
    ("gemma3", GOOD.format("70"), "72", [3.0, 2.0, 0.5, 0.0]),
    ("gemma3", GOOD.format("60"), "72", [3.0, 2.0, 0.25, 0.0]),
    ("gemma3", GOOD.format("7"), "72", [3.0, 2.0, -1.0, 0.0]),
    ("gemma3", GOOD.format("many"), "72", [3.0, 2.0, -0.5, 0.0]),
    ("gemma3", GOOD.format("1"), "0", [3.0, 2.0, -1.0, 0.0]),
    ("gemma3", GOOD.format("72") + " done", "72", [0.0, 2.0, 0.0, 1.5]),
    ("gemma3", "72", "72", [0.0, -2.0, 0.0, 0.0]),
    ("gemma3", GOOD.format("72"), None, [3.0, 2.0, None, None]),
    (
        "deepseek-r1",
        "<think>Pada awalnya ada 5 apel, kemudian datang lagi 7. Jadi jumlahnya 12.</think>12",
        "12",
        [3.0, 1.0, 5.0, 3.5, 5.0],
    ),
    ("deepseek-r1", "<think>There are five and then seven more</think>12", "12", [3.0, 1.0, 5.0, 3.5, -3.0]),
    ("deepseek-r1", "<think>Das ist eine schwere Rechnung</think>13", "12", [3.0, 1.0, 2.0, -1.5, -5.0]),
    ("deepseek-r1", "Semula ada 5 apel", "12", [0.0, -2.0, -2.0, -2.5, -5.0]),
    ("xml", "<reasoning>\n5\n</reasoning>\n<answer>\n12\n</answer>\n", "12", [0.5, 0.5, 0.5, 0.5, 2.0]),
    ("xml", "<reasoning>\n5\n</reasoning>\n<answer>\n1.5\n</answer>\n", "12", [0.5, 0.5, 0.5, 0.0, 0.0]),
    ("xml", "<reasoning>\n5\n</reasoning>\n<answer>\n12\n</answer>\nbye", "12", [0.497, 0.5, 0.0, 0.5, 2.0]),
    ("xml", "12", "12", [0.0, 0.0, 0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("preset", "reply", "truth", "paid"), PAID)
def test_scores_table(preset, reply, truth, paid):
    functions = rewards.functions(preset)
    values = [each(prompts=["?"], completions=[reply], answer=[truth])[0] for each in functions]
    assert values == pytest.approx(paid)


def test_trls_conversations_and_extra_columns_are_taken():
    conversation = [{"role": "assistant", "content": GOOD.format("72")}]
    first = rewards.functions("gemma3")[0]
    paid = first(prompts=[[]], completions=[conversation], answer=["72"], kind=["x"], log_metric=print)
    assert paid == [3.0]
    assert first.__name__ == "match_format_exactly"


def test_an_opening_tag_in_the_prompt_counts():
    closed_only = GOOD.format("72").removeprefix("<start_working_out>")
    exactly = rewards.functions("gemma3", prefix="<start_working_out>")[0]
    assert exactly(prompts=["?"], completions=[closed_only], answer=["72"]) == [3.0]


def test_every_format_has_its_preset():
    assert {format.rewards for format in FORMATS.values()} == set(rewards.PRESETS)
