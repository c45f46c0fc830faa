import json
from dataclasses import replace

import pytest
from conftest import configuration, evaluate_until, generate, write_jsonl

from harness.data import datasets
from harness.errors import UserError
from harness.evaluation import evaluate, generation, prompts
from harness.models import checkpoints
from harness.storage.run_folder import Run


@pytest.fixture(scope="module")
def engine():
    return evaluate.open_engine(configuration(), None)


def test_a_reply_belongs_to_its_place_and_not_to_its_batch(engine):
    config = configuration(limit=12, samples=2)
    whole = generate(engine, config)
    assert len(whole) == 24
    done = set(list(whole)[::3])
    rest = generate(engine, config, done)
    assert rest == {place: reply for place, reply in whole.items() if place not in done}
    engine.batch_size, kept = 5, engine.batch_size
    assert generate(engine, config) == whole
    engine.batch_size = kept


def test_two_replies_to_one_problem_and_two_seeds_differ(engine):
    config = configuration(limit=8, samples=2)
    texts = {place: reply.text for place, reply in generate(engine, config).items()}
    assert any(texts[problem, 0] != texts[problem, 1] for problem, _ in texts)
    other = {place: reply.text for place, reply in generate(engine, config.model_copy(update={"seed": 1})).items()}
    assert other != texts


def test_a_checkpoints_own_generation_settings_do_not_leak_in(tmp_path, engine):
    import shutil

    folder = shutil.copytree(checkpoints.locate("embedded"), tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"repetition_penalty": 5.0}))
    config = configuration(limit=4)
    other = evaluate.open_engine(config.model_copy(update={"checkpoint": str(folder)}), None)
    assert generate(other, config) == generate(engine, config)


def test_greedy_needs_no_seed(engine):
    config = configuration(limit=8, seed=1).model_copy(update={"temperature": 0.0})
    first = generate(engine, config)
    second = generate(engine, config.model_copy(update={"seed": 2}))
    assert [reply.text for reply in first.values()] == [reply.text for reply in second.values()]
    assert all(reply.finish_reason == "stop" for reply in first.values())


def test_a_reply_at_the_limit_is_cut_off(engine):
    replies = generate(engine, configuration("max_tokens=5", limit=3)).values()
    assert {(reply.finish_reason, reply.n_tokens) for reply in replies} == {("length", 5)}


def test_sampling_follows_the_models_distribution(engine):
    """The first token of many draws comes as often as the model says it should."""
    config = configuration("max_tokens=1", limit=1)
    request = prompts.requests(config, datasets.evaluation_problems(config), engine, False)[0]
    ids = engine.tokenizer(request.prompt, return_tensors="pt", add_special_tokens=False)
    probabilities = engine.model(**ids).logits[0, -1].softmax(-1)
    likely = int(probabilities.argmax())
    wanted = [replace(request, index=index) for index in range(2000)]
    engine.batch_size, kept = 500, engine.batch_size
    drawn = [each for batch in engine.generate(wanted, frozenset(), config.sampling) for _, each in batch]
    engine.batch_size = kept
    share = sum(each.text == engine.tokenizer.decode([likely]) for each in drawn) / len(drawn)
    expected = float(probabilities[likely].detach())
    assert abs(share - expected) < 4 * (expected * (1 - expected) / len(drawn)) ** 0.5


def test_a_stopped_evaluation_goes_on_and_keeps_what_it_has(tmp_path):
    config = configuration(limit=6, engine="scripted", engine_args={"replies": str(tmp_path / "r.jsonl")})
    write_jsonl(tmp_path / "r.jsonl", [{"text": f"reply {n}"} for n in range(6)])
    run = Run.create(tmp_path / "run", config, "harness eval")

    evaluate_until(run, "reply 2")
    journal = run.path / "before" / "completions.jsonl"
    first = journal.read_bytes()
    assert len(run.completions("before")) == 3
    evaluate.evaluate(run, ["before"], None, True, None)
    assert journal.read_bytes().startswith(first)
    assert [each.text for each in run.completions("before")] == [f"reply {n}" for n in range(6)]


def test_data_that_was_edited_under_a_run_stops_it(tmp_path):
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": "x"}])
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": "?", "answer": 1}])
    config = configuration(dataset=str(data), engine="scripted", engine_args={"replies": str(replies)})
    run = Run.create(tmp_path / "run", config, "harness eval")
    evaluate.evaluate(run, ["before"], None, True, None)
    write_jsonl(data, [{"question": "another?", "answer": 1}])
    with pytest.raises(UserError, match="the dataset changed since"):
        evaluate.evaluate(run, ["before"], None, True, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "replies=FILE"),
        ({"replies": "nowhere.jsonl"}, "nowhere.jsonl"),
    ],
)
def test_mistakes_with_the_scripted_engine_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        evaluate.open_engine(configuration(engine="scripted", engine_args=arguments), None)


def test_greedy_replies_that_do_not_repeat_are_counted(tmp_path):
    config = configuration("temperature=0", "max_tokens=20", limit=10)
    run = Run.create(tmp_path / "run", config, "harness eval")
    evaluate.evaluate(run, ["before"], None, True, None)
    assert run.record.provenance["before"]["drawn_again"] == {"replies": 8, "differ": 0}
    engine = evaluate.open_engine(config, None)
    wanted = prompts.requests(config, datasets.evaluation_problems(config), engine, False)
    others = [replace(each, text=f"{each.text}.") for each in run.completions("before")]
    assert generation.generate_again(engine, others, wanted, config.sampling) == {"replies": 8, "differ": 8}
