from itertools import islice

from harness.data.word_problems import KINDS, TEST_PROBLEMS, TRAIN_PROBLEMS, generate, problems, split_of
from harness.parsing import answers
from harness.parsing.language import label, prose


def test_train_and_test_never_overlap():
    train, test = ({problem.question for problem in problems(split)} for split in ("train", "test"))
    assert (len(train), len(test)) == (TRAIN_PROBLEMS, TEST_PROBLEMS)
    assert not train & test
    assert {split_of(question) for question in train} == {"train"}
    # What the embedded model was trained on has the same border.
    assert all(split_of(each.problem.question) == "train" for each in islice(generate("train", 3407), 5000))


def test_a_dozen_kinds_of_one_to_three_steps():
    assert len({kind.name for kind in KINDS}) >= 12
    assert {kind.steps for kind in KINDS} == {1, 2, 3}
    assert {problem.kind for problem in problems("test")} == {kind.name for kind in KINDS}


def test_the_reasoning_ends_in_the_answer_and_is_in_its_language():
    for each in islice(generate("test", 1), 5 * len(KINDS)):
        for language, reasoning in each.reasoning.items():
            assert label(prose(reasoning)) == language, reasoning
            assert answers.number(reasoning.rpartition("=")[2]) == int(each.problem.answer), reasoning


def test_problems_are_the_same_everywhere():
    first = problems("test")[0]
    assert first.id == "gain-6a98858033"
    assert first.question.startswith("Emma has 184 cakes.")
