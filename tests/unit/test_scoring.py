import pytest
from conftest import configuration

from harness.evaluation.scoring import score_all
from harness.types import Completion

BLOCK = "<start_working_out>{}<end_working_out><SOLUTION>{}</SOLUTION>"

# (format, reply, truth, format_strict, accuracy_strict, accuracy_flexible, extracted)
REPLIES = [
    ("working-out", BLOCK.format("5 + 7", "12"), "12", 1, 1, 1, "12"),
    ("working-out", BLOCK.format("5 + 7", "13"), "12", 1, 0, 0, "13"),
    ("working-out", "So it is 12.", "12", 0, 0, 1, "12"),
    ("working-out", "no number", "12", 0, 0, 0, None),
    ("working-out", BLOCK.format("5 + 7", "12"), None, 1, None, None, "12"),
    ("think", "<think>6 x 7 = 42</think> That is 42.", "42", 1, 1, 1, "42"),
    ("think", "<think>6 x 7 = 42</think> That is my answer.", "42", 1, 0, 1, "42"),
]


@pytest.mark.parametrize(("format", "reply", "truth", "strict", "right", "flexible", "extracted"), REPLIES)
def test_scores(format, reply, truth, strict, right, flexible, extracted):
    completion = Completion("p", 0, "?", truth, reply, 3, "stop", "sha", 0)
    score = score_all([completion], configuration(format=format), "number")[0]
    values = [score.scores[name] for name in ("format_strict", "accuracy_strict", "accuracy_flexible")]
    assert (values, score.extracted) == ([strict, right, flexible], extracted)
    assert score.reasons.keys() == {name for name, value in score.scores.items() if value is None}


def test_a_reply_that_was_cut_off_has_only_the_answer_that_it_states():
    texts = {"so far 5 and 12": 0, "The answer is 12. I": 1, BLOCK.format("5 + 7", "12"): 1, "<SOLUTION>12": 0}
    for text, right in texts.items():
        completion = Completion("p", 0, "?", "12", text, 3, "length", "sha", 0)
        score = score_all([completion], configuration(), "number")[0]
        assert score.scores["accuracy_flexible"] == right, text
        assert score.scores["reward/check_numbers"] == (1.5 if "</SOLUTION>" in text else 0), text


def test_no_target_language_no_language_metric():
    completion = Completion("p", 0, "?", "1", "x", 3, "length", "sha", 0)
    score = score_all([completion], configuration(language="none"), "number")[0]
    assert not {"language_ratio", "language_raw"} & score.scores.keys()
    assert score.scores["truncated"] == 1
