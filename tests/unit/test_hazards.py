"""Each hazard of the tutorials' rewards: its scores are corpus rows; what is no score is tested here."""

import ast
import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.rewards import hazard_table
from harness import rewards
from harness.parsing.named_formats import FORMATS
from harness.rewards import PRESETS, corpora

README = Path(hazard_table.__file__).parent / "README.md"
CORPORA = {path: path.parent.name + "/" + path.stem for path in corpora.stored_corpora()}


@pytest.mark.parametrize("path", CORPORA, ids=CORPORA.values())
def test_stored_corpora_hold(path):
    checked = corpora.check(path, corpora.rewards_of_rows(None, None))
    assert checked.rows
    assert not checked.faults
    assert [(drift.row, drift.function, drift.got) for drift in checked.drifts] == []


def test_every_hazard_is_in_the_table_and_the_table_in_the_readme():
    numbers = {row["hazard"] for row in hazard_table._rows("robust").values()} | hazard_table.NO_SCORES.keys()
    assert numbers == set(range(1, 24))
    assert hazard_table.table() in README.read_text(encoding="utf-8")


LAYOUTS = {
    "working-out": "<start_working_out>{}<end_working_out>\n<SOLUTION>{}</SOLUTION>",
    "think": "<think>{}</think>{}",
    "xml": "<reasoning>\n{}\n</reasoning>\n<answer>\n{}\n</answer>\n",
}
DRESSES = ("{}", " {} ", "${}", "{}%", "{}.", "{} apples", "\\boxed{{{}}}", "1 + 1 = {}", "{}.0", "**{}**", "€{}")
REASONINGS = ("one and two", "satu dan dua lalu tiga", "12 + 30", "a\nb\nc")


@pytest.mark.parametrize("preset", PRESETS)
@settings(max_examples=300, deadline=None)
@given(
    truth=st.one_of(st.integers(-(10**6), 10**6), st.integers(-20, 20)).map(str),
    dress=st.sampled_from(DRESSES),
    wrong=st.one_of(
        st.integers(-(10**6), 10**6).map(str), st.text(max_size=8), st.sampled_from(("nan", "٧٢", "", "inf"))
    ),
    reasoning=st.sampled_from(REASONINGS),
    commas=st.booleans(),
)
def test_a_right_answer_never_earns_less_than_a_wrong_one_of_the_same_layout(
    preset, truth, dress, wrong, reasoning, commas
):
    layout = LAYOUTS[PRESETS[preset].format].removeprefix(PRESETS[preset].prefix)
    right = dress.format(f"{int(truth):,}" if commas else truth)
    judge = rewards.load_rewards(preset).score
    paid, other = (judge(layout.format(reasoning, answer), truth) for answer in (right, wrong))
    full = rewards.load_rewards(preset).score(layout.format(reasoning, truth), truth)
    assert paid.scores == full.scores
    for name, value in other.scores.items():
        assert value <= paid.scores[name], name


def test_a_right_fraction_never_earns_less_than_a_wrong_integer():
    judge = rewards.load_rewards("xml").score
    right, wrong = (judge(LAYOUTS["xml"].format("r", answer), "1.5").scores for answer in ("3/2", "2"))
    assert all(right[name] >= wrong[name] for name in right)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("variant", rewards.VARIANTS)
def test_nothing_is_printed(preset, variant):
    """Hazard 5, as far as a reply can provoke it: every corpus reply, half of a surrogate pair included."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        for function in rewards.functions(preset, variant):
            function(prompts=["?"] * 3, completions=["٧٢", "\ud800", "<SOLUTION>7</SOLUTION>"], answer=["72"] * 3)
    assert said.getvalue() == ""


def test_no_reward_has_a_print():
    for file in Path(rewards.__file__).parent.glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        assert not [call for call in calls if getattr(call.func, "id", "") == "print"], file


def test_tags_are_the_formats_own():
    """Hazard 17: no tokenizer is asked, so none can be without the tags."""
    assert FORMATS["think"].tags == ("<think>", "</think>")
    assert rewards.load_rewards("deepseek-r1").score("None of these", "34").scores["match_format_exactly"] == 0
    assert rewards.load_rewards("deepseek-r1").score("<nothink>x</nothink>34", "34").scores["check_answer"] == -2.0


# Hazard 4: batches that are not as they should be -> what robust check_answer pays.
BATCHES = [
    (["{right}", "{right}"], ["72", None], [3.0, None]),
    (["{right}"], [72], [3.0]),
    (["{right}"], [72.0], [3.0]),
    (["{right}"], [float("nan")], [None]),
    (["{right}", "{right}"], ["72"], [3.0, None]),
    (["{right}"], ["72", "73"], [3.0]),
    (["{right}"], "72", [None]),
    (["{right}"], [], [None]),
    ([], [], []),
    ([None], ["72"], [None]),
]


@pytest.mark.parametrize(("completions", "answers", "paid"), BATCHES)
def test_batches_that_are_not_as_they_should_be(completions, answers, paid):
    right = LAYOUTS["working-out"].format("r", "72")
    completions = [each and each.format(right=right) for each in completions]
    function = {each.__name__: each for each in rewards.functions("gemma3")}["check_answer"]
    assert function(prompts=None, completions=completions, answer=answers) == paid


def test_a_batch_is_judged_anew_when_its_answers_change():
    right, function = LAYOUTS["working-out"].format("r", "72"), rewards.functions("gemma3")[2]
    assert [function(completions=[right], answer=[answer]) for answer in ("72", "7", "72")] == [[3.0], [-1.0], [3.0]]
