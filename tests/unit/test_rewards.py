import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import rewards
from harness.parsing.named_formats import FORMATS
from harness.rewards import tutorial

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
    ("deepseek-r1", "<think>Das ist eine schwere Rechnung</think>13", "12", [3.0, 1.0, 2.0, -1.5, -3.0]),
    ("deepseek-r1", "Semula ada 5 apel", "12", [0.0, -2.0, -2.0, -2.5, -5.0]),
    ("qwen3", GOOD.removeprefix("<start_working_out>").format("72"), "72", [3.0, 1.5, 5.0, 3.5]),
    ("qwen3", GOOD.removeprefix("<start_working_out>").format("7"), "72", [3.0, 1.5, -2.5, -1.5]),
    ("qwen3", GOOD.format("72"), "72", [0.0, 1.5, -2.0, 3.5]),
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
    assert {format.rewards for format in FORMATS.values()} <= set(rewards.PRESETS)
    assert all(preset.format in FORMATS for preset in rewards.PRESETS.values())


CORPORA = [
    (f"{folder}/{name}.jsonl", name.removesuffix("-eos-endoftext"), eos)
    for folder in ("ours", "real")
    for name, eos in (
        ("gemma3", None), ("qwen3", None), ("qwen3-eos-endoftext", "<|endoftext|>"), ("deepseek-r1", None),
        ("xml", None),
    )
    if (folder, name) != ("real", "qwen3-eos-endoftext")
]  # fmt: skip


@pytest.mark.parametrize(("file", "preset", "eos"), CORPORA)
def test_tutorial_pays_what_the_tutorials_paid(test_data, file, preset, eos):
    rows = [json.loads(line) for line in (test_data / "rewards" / file).open()]
    functions = rewards.functions(preset, "tutorial", eos=eos)
    columns = {key: [row[key] for row in rows] for key in ("prompt", "completion", "answer")}
    paid = {
        each.__name__: each(prompts=columns["prompt"], completions=columns["completion"], answer=columns["answer"])
        for each in functions
    }
    assert [each.__name__ for each in functions] == list(rows[0]["scores"])
    for place, row in enumerate(rows):
        assert {name: values[place] for name, values in paid.items()} == pytest.approx(row["scores"]), row["id"]


def test_tutorial_batches(test_data):
    rows = [json.loads(line) for line in (test_data / "rewards" / "ours" / "batch.jsonl").open()]
    rows = [row for row in rows if "result" in row and "completions" in row and row["fn"].endswith(FUNCTIONS)]
    assert len(rows) > 80
    for row in rows:
        function = {each.__name__: each for each in rewards.functions(row["preset"], "tutorial")}[row["fn"]]
        paid = function(prompts=row["prompts"], completions=row["completions"], answer=row["answer"])
        assert paid == pytest.approx(row["result"]), (row["preset"], row["case"], row["fn"])


FUNCTIONS = tuple({each.__name__ for preset in rewards.PRESETS for each in rewards.functions(preset)})

OPEN, CLOSE, SOLUTION, END = tutorial.OPEN, tutorial.CLOSE, tutorial.SOLUTION, tutorial.SOLUTION_END
EOS = "<|im_end|>"
WHOLE = f"{OPEN}x{CLOSE}{SOLUTION}7{END}"
MULTI, DOT = re.MULTILINE | re.DOTALL, re.DOTALL
SPANS = [
    (rf"^\s*{OPEN}.+?{CLOSE}.*?{SOLUTION}(.+?){END}\s*$", MULTI, tutorial.gemma3_answer),
    (
        rf"{CLOSE}.*?{SOLUTION}(.+?){END}\s*(?:{re.escape(EOS)})?\s*$",
        MULTI,
        lambda text: tutorial.qwen3_answer(text, EOS),
    ),
    (rf"{SOLUTION}.*?([\d.]+)", DOT, tutorial.gemma3_number),
    (rf"{SOLUTION}.*?\s*(-?[\d.,]+)", DOT, tutorial.qwen3_number),
    (r".*?\s*(-?[\d.,]+)", DOT, tutorial.think_number),
    (r"</think>(.*)", DOT, tutorial.think_answer),
    (r"\A(<reasoning>.*?</reasoning>\s*<answer>.*?</answer>)", 0, lambda text: tutorial._soft(text) or None),
    (
        r"\A(<reasoning>\n.*?\n</reasoning>\n<answer>\n.*?\n</answer>\n$)",
        0,
        lambda text: tutorial._strict(text) or None,
    ),
]
PIECES = [
    OPEN, CLOSE, SOLUTION, END, EOS, WHOLE, "<think>", "</think>", "<reasoning>", "</reasoning>", "<answer>",
    "</answer>", "<reasoning>\nx\n</reasoning>\n<answer>\n7\n</answer>\n", "\n", " ", "\r\n",
    "\x85", "\u2028", "\x1c", "\x0b", "\u00a0",
    "x", "7", "٧", "²", ".", ",", "-", "\ud800",
]  # fmt: skip


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=16).map("".join))
def test_tutorial_spans_are_those_of_the_expressions(text):
    for pattern, flags, read in SPANS:
        found, span = re.search(pattern, text, flags), read(text)
        assert (found is None) == (span is None)
        assert span is True or span == (found and found[1])


def xmlcount_as_printed(text):
    """The tutorial's formula, word for word but for its names."""
    count = 0.0
    if text.count("<reasoning>\n") == 1:
        count += 0.125
    if text.count("\n</reasoning>\n") == 1:
        count += 0.125
    if text.count("\n<answer>\n") == 1:
        count += 0.125
        count -= len(text.split("\n</answer>\n")[-1]) * 0.001
    if text.count("\n</answer>") == 1:
        count += 0.125
        count -= (len(text.split("\n</answer>")[-1]) - 1) * 0.001
    return count


DELIMITERS = [
    "<reasoning>\n",
    "\n</reasoning>\n",
    "\n<answer>\n",
    "\n</answer>\n",
    "\n</answer>",
    "</answer>",
    "\n",
    "x",
]


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(DELIMITERS), st.sampled_from("\n<>/answer")), max_size=14).map("".join))
@example("<reasoning>\nr\n</reasoning>\n<answer>\n7\n</answer>\n</answer>\n")
def test_xmlcount_is_the_tutorials_own(text):
    judged = rewards.load_rewards("xml", "tutorial").score(text, "7")
    assert judged.scores["xmlcount_reward_func"] == pytest.approx(xmlcount_as_printed(text), abs=1e-12)


def test_a_completion_of_as_many_tokens_as_the_limit_was_cut_off():
    reply, ids = "<think>r</think> so far 12", [[1, 2, 3], [1, 2]]
    right = {each.__name__: each for each in rewards.functions("deepseek-r1", limit=3)}["check_numbers"]
    assert right(completions=[reply, reply], answer=["12", "12"], completion_ids=ids) == [-2.5, 3.5]
    assert right(completions=[reply, reply], answer=["12", "12"]) == [3.5, 3.5]


@pytest.mark.parametrize("preset", rewards.PRESETS)
@pytest.mark.parametrize("variant", rewards.VARIANTS)
@pytest.mark.parametrize("truth", [None, 72, "72"])
@pytest.mark.parametrize(
    "completion", ["", "\ud800", None, 7, [], [{}], [{"content": None}], [{"content": WHOLE}], WHOLE]
)
def test_no_input_raises(preset, variant, truth, completion):
    for function in rewards.functions(preset, variant):
        (paid,) = function(prompts=["?"], completions=[completion], answer=[truth])
        assert paid is None or isinstance(paid, float | int)
