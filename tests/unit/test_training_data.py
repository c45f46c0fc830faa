import time

import pytest
from conftest import configuration, write_jsonl
from data_files import ROWS

from harness.data import columns, datasets, overlap
from harness.errors import UserError
from harness.findings import NearCopy
from harness.types import Problem

# A training question, and whether it is the evaluated "How many are 2 eggs?".
OVERLAPS = [
    ("How many are 2 eggs?", True),
    ("how MANY are 2 eggs?", True),
    ("  How many\n are\t2 eggs? ", True),
    ("How\u00a0many are \uff12 eggs?", True),
    ("How many are\u200b 2 eggs?", True),
    ("\ufeffHow many are 2 eggs?", True),
    ("How many are 3 eggs?", False),
]


@pytest.mark.parametrize(("question", "same"), OVERLAPS)
def test_what_is_evaluated_is_left_out_of_either_training(tmp_path, question, same):
    other = {"question": "Another one?", "answer": "1", "solution": "One."}
    write_jsonl(tmp_path / "test.jsonl", [{"question": "How many are 2 eggs?", "answer": "2"}])
    write_jsonl(tmp_path / "train.jsonl", [other, other | {"question": question}])
    settings = (f"sft_dataset={tmp_path / 'train.jsonl'}", "eval_every=0")
    config = configuration(*settings, dataset=str(tmp_path), trains=True)
    for trained, left_out in (datasets.training_problems(config), datasets.lessons(config)):
        assert (len(trained.problems), left_out) == (2 - same, int(same))


def test_a_training_set_that_is_all_evaluated_is_refused(tmp_path):
    for name in ("train.jsonl", "test.jsonl"):
        write_jsonl(tmp_path / name, ROWS)
    with pytest.raises(UserError, match="the run evaluates all of its 40 training problems"):
        datasets.training_problems(configuration(dataset=str(tmp_path), trains=True))


NEAR = "Max bought {} stamps at the post office and gave half of them to a friend who collects them. How many are left?"


def test_near_copies_are_counted_with_examples_and_not_left_out():
    trained = [Problem(str(n), NEAR.format(n), "1") for n in range(3)] + [Problem("x", "Quite another one?", "1")]
    asked = [Problem("a", NEAR.format(90), "1"), Problem("b", "Short?", "1"), Problem("c", "Quite ANOTHER one", "1")]
    found = overlap.near_copies(trained, asked)
    assert (found.count, found.evaluated) == (2, 3)
    assert found.examples[0] == NearCopy(NEAR.format(90), NEAR.format(0), 1.0)
    assert overlap.without(trained, asked) == tuple(trained)
    assert overlap.near_copies([], asked).count == overlap.near_copies(trained, []).count == 0


def test_near_copies_take_linear_time():
    """Problems of one template, which all share their n-grams."""
    trained, asked = ([Problem("", NEAR.format(n), "1") for n in range(start, start + 4000)] for start in (0, 5000))
    started = time.monotonic()
    assert overlap.near_copies(trained, asked).count == 4000
    assert time.monotonic() - started < 10


WORKED = [
    {"question": "What is 1 + 1?", "solution": "It is 2.", "answer": "2"},
    {"question": "What is 2 + 2?", "solution": "It is 4.", "answer": "4"},
    {"question": "What is half?", "solution": "1/2", "answer": "\\frac{1}{2}"},
    {"question": "Which letter?", "solution": "x", "answer": "x + 1"},
    {"question": "Without a solution?", "answer": "5"},
    {"question": "What is 3 - 5?", "solution": "-2", "answer": "-2"},
]


def test_lessons_are_worked_numeric_and_never_evaluated(tmp_path):
    """Of the rows above three have a numeric answer and a solution; one of them is evaluated."""
    worked = write_jsonl(tmp_path / "worked.jsonl", WORKED)
    asked = write_jsonl(tmp_path / "asked.jsonl", [{"question": "What is 2 + 2?", "answer": "4"}])
    config = configuration(f"sft_dataset={worked}", dataset=str(asked))
    lessons, evaluated = datasets.lessons(config)
    assert [lesson.solution for lesson in lessons.problems] == ["It is 2.", "-2"]
    assert evaluated == 1


@pytest.mark.parametrize(
    ("written", "solution"),
    [
        ("Half is 48/2 = <<48/2=24>>24.\nBoth: <<48+24=72>>72.\n#### 72", "Half is 48/2 = 24.\nBoth: 72."),
        ("So $<<.5*3=1.5>>1.50.\n####1,000 ", "So $1.50."),
        ("#### First\nwe add: 2.\n#### Then\nwe are done.", "#### First\nwe add: 2.\n#### Then\nwe are done."),
        ("`cout << a >> b` and 1 << 2", "`cout << a >> b` and 1 << 2"),
        ("<<1+1=2>>", None),
        ("", None),
        (None, None),
    ],
)
def test_a_worked_solution_is_the_working_alone(written, solution):
    assert columns.worked_solution(written) == solution


def test_gsm8ks_own_solutions_are_lessons_and_its_test_problems_never(tmp_path):
    rows = [
        {"question": f"What is {n} + 1?", "answer": f"{n}+1 = <<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"} for n in range(9)
    ]
    write_jsonl(tmp_path / "train.jsonl", rows[:6])
    write_jsonl(tmp_path / "test.jsonl", rows[5:])
    config = configuration("sft_dataset=gsm8k", "eval_every=0", dataset="gsm8k", data=str(tmp_path), trains=True)
    lessons, evaluated = datasets.lessons(config)
    assert [(each.solution, each.answer) for each in lessons.problems] == [
        (f"{n}+1 = {n + 1}", str(n + 1)) for n in range(5)
    ]
    assert evaluated == 1
    # Where the run evaluates something else, GSM8K's test problems are still none to learn from.
    config = configuration("sft_dataset=gsm8k", f"sft_data={tmp_path}", trains=True)
    assert len(datasets.lessons(config)[0].problems) == 6


def test_the_embedded_lessons_speak_the_target_language():
    for language, word in (("en", "Together"), ("id", "Jadi")):
        lessons, evaluated = datasets.lessons(configuration("sft_dataset=word-problems", language=language))
        # The problems that the accuracy is probed on.
        assert evaluated == 32
        assert any(word in lesson.solution for lesson in lessons.problems[:20])


def test_a_dataset_without_solutions_is_no_lesson(tmp_path):
    asked = write_jsonl(tmp_path / "asked.jsonl", [{"question": "What is 2 + 2?", "answer": "4"}])
    with pytest.raises(UserError, match="none of its 1 problems has a worked solution"):
        datasets.lessons(configuration(f"sft_dataset={asked}"))
