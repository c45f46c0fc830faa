"""Questions and replies that the model's context has no room for: left out and counted, or cut off."""

import json
import shutil

import pytest
from conftest import configuration, generate, write_jsonl

from harness.data import datasets
from harness.errors import UserError
from harness.evaluation import evaluate, prompts
from harness.evaluation.scoring import NO_ROOM, score_all
from harness.models import checkpoints
from harness.storage.run_folder import Run
from harness.types import Completion

CONTEXT = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The embedded model, said to read no more than CONTEXT tokens."""
    folder = shutil.copytree(checkpoints.locate("embedded"), tmp_path_factory.mktemp("m") / "model")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": CONTEXT}))
    return folder


@pytest.fixture
def config(folder, tmp_path):
    """A short question, one that leaves a few tokens, and one that leaves none."""
    rows = [{"question": "Why? " * count, "answer": 7} for count in (2, 26, 90)]
    data = write_jsonl(tmp_path / "d.jsonl", rows)
    return configuration(f"checkpoint={folder}", "system_prompt=none", dataset=str(data), engine="transformers")


def test_a_question_longer_than_the_context_is_unscored_and_counted(config, tmp_path, capsys):
    run = Run.create(tmp_path / "r", config, "harness eval")
    evaluate.evaluate(run, ["before"], None, False, None)
    replies = {each.position: each for each in run.completions("before")}
    assert [replies[place].is_unasked for place in range(3)] == [False, False, True]
    assert "1 of 3 replies are left unscored: the question leaves no room" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "r/before/metrics.json").read_text())
    assert {(each["n"], each["unscored"]) for each in metrics.values()} == {(2, 1)}
    (unscored,) = [each for each in run.chosen_evaluations("before")[0].scores if each.reasons]
    assert set(unscored.scores) == set(metrics)
    assert set(unscored.scores.values()) == {None}
    assert set(unscored.reasons.values()) == {NO_ROOM}
    assert run.record.provenance["before"]["unasked"] == 1


def asked(config, engine):
    return prompts.requests(config, datasets.evaluation_problems(config), engine, False)


def test_a_reply_ends_where_the_context_does(config):
    engine = evaluate.open_engine(config, None)
    prompt = asked(config, engine)[1].prompt
    room = CONTEXT - len(engine.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    short, cut, _ = sorted(generate(engine, config).values(), key=lambda reply: reply.position)
    assert (cut.n_tokens, cut.finish_reason) == (room, "length")
    engine.context = None
    whole = sorted(generate(engine, config).values(), key=lambda reply: reply.position)
    assert whole[0].text == short.text
    assert whole[1].n_tokens > room
    assert whole[1].text.startswith(cut.text)


def test_a_run_of_such_questions_alone_is_refused(config, tmp_path):
    data = write_jsonl(tmp_path / "long.jsonl", [{"question": "Why? " * 200, "answer": 7}])
    run = Run.create(tmp_path / "r", config.model_copy(update={"dataset": str(data)}), "harness eval")
    with pytest.raises(UserError, match="every question is longer than its context"):
        evaluate.evaluate(run, ["before"], None, True, None)


def test_such_a_question_asked_alone_is_one_line(config):
    engine = evaluate.open_engine(config, None)
    request = asked(config, engine)[2]
    with pytest.raises(UserError, match="longer than the 128 tokens of the model's context"):
        engine.reply_to(request, config.sampling, print)


@pytest.mark.parametrize(
    ("tokens", "finish", "unasked"), [(0, "length", True), (0, "stop", False), (1, "length", False)]
)
def test_only_what_was_cut_off_before_its_first_token_is_unasked(tokens, finish, unasked):
    reply = Completion("1", 0, "?", "7", "", tokens, finish, "sha", 0)
    (score,) = score_all([reply], configuration(), "number")
    assert (score.scores["accuracy_strict"] is None) == (score.scores["tokens"] is None) == unasked
