"""The openai engine on a server of our own; test_engine_faults.py has it fail, test_vllm_engine.py asks a real one."""

import pytest
from conftest import configuration, serving
from openai_server import REPLY, Server, completion

from harness.data import datasets
from harness.engines.openai_answers import text_of
from harness.errors import UserError
from harness.evaluation import evaluate, prompts, provenance
from harness.models import checkpoints, loading
from harness.stages import BOTH, state_names
from harness.statistics.metric_rows import metric_row
from harness.storage.run_folder import Run


@pytest.fixture
def server():
    with serving(Server()) as server:
        yield server


def config_for(server, *settings, **arguments):
    given = {"base_url": server.url, "model": "base", "retries": "2"} | arguments
    return configuration(*settings, limit=12, engine="openai", engine_args=given, adapter="lora")


def test_both_sides_by_their_served_names(tmp_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    run = Run.create(tmp_path / "run", config_for(server, concurrency="3"), "harness run")
    evaluate.evaluate(run, state_names(BOTH), "lora", True, None)
    assert {each.text for each in run.completions("after")} == {REPLY.format(7)}
    assert len({each.text for each in run.completions("before")}) > 1
    assert [each.n_tokens for each in run.completions("before")] == [9] * 12
    after = run.record.provenance["after"]
    assert after["adapter"] == {"served as": "lora"}
    assert after["adapter_effect"]["evidence"] == "greedy replies"
    assert server.keys == {"Bearer sk-planted"}
    assert not [file for file in run.path.rglob("*") if file.is_file() and b"sk-planted" in file.read_bytes()]


def test_a_served_name_may_look_like_a_folder(server):
    assert provenance.adapter_record(config_for(server), "/srv/lora") == {"served as": "/srv/lora"}


METRICS = "".join(f'vllm:num_requests_running{{engine="{each}",model_name="base"}} 0.0\n' for each in range(3))
PROGRAMS = [
    ("test", {}, "unknown", 64, {"min_p": 0.1}),
    ("openai", {}, "openai", 64, {"min_p": 0.1, "seed": int}),
    ("vllm", {}, "vllm", 128, {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.0, "seed": int}),
    ("vllm", {"/metrics": METRICS}, "vllm", 384, {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.0, "seed": int}),
    ("someone", {"/version": {"version": "0.26.0"}}, "vllm", 128,
     {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.0, "seed": int}),
    ("sglang", {}, "sglang", 128, {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.0, "seed": int}),
    ("llamacpp", {"/props": {"total_slots": 6}}, "llama.cpp", 6,
     {"top_k": 0, "min_p": 0.1, "repeat_penalty": 1.0, "seed": int}),
    ("someone", {"/props": {"default_generation_settings": {}, "total_slots": "x"}}, "llama.cpp", 4,
     {"top_k": 0, "min_p": 0.1, "repeat_penalty": 1.0, "seed": int}),
    ("me", {}, "llama-cpp-python", 1, {"top_k": 0, "min_p": 0.1, "repeat_penalty": 1.0, "seed": int}),
    ("someone", {"/props": "[]", "/api/version": {"version": "0.12"}}, "ollama", 4, {"min_p": 0.1, "seed": int}),
    ("organization_owner", {}, "lm-studio", 4, {"top_k": 0, "min_p": 0.1, "repeat_penalty": 1.0, "seed": int}),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "pages", "program", "concurrency", "expected"), PROGRAMS)
def test_a_server_is_sent_all_that_it_takes_and_as_much_as_it_can_do(
    server, owner, pages, program, concurrency, expected
):
    """What it is not sent it would fill in by itself; what it does not know a strict one refuses."""
    server.owner, server.pages = owner, pages
    config = config_for(server, "top_k=0", "min_p=0.1", "top_p=1.0")
    engine = evaluate.open_engine(config, None)
    assert (engine.provenance["server_program"], engine.provenance["concurrency"]) == (program, concurrency)
    wanted = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=False)[:2]
    assert len([pair for batch in engine.generate(wanted, frozenset(), config.sampling) for pair in batch]) == 2
    first, second = server.asked
    assert (first["temperature"], first["top_p"], first["max_tokens"]) == (1.0, 1.0, 128)
    standard = {"model", "messages", "temperature", "top_p", "max_tokens"}
    sent = {key: value for key, value in first.items() if key not in standard}
    assert {key: int if key == "seed" else value for key, value in sent.items()} == expected
    assert ("seed" not in sent) or 0 <= first["seed"] != second["seed"] < 2**31
    server.asked.clear()
    greedy = config.model_copy(update={"temperature": 0.0}).sampling
    list(engine.generate(wanted, frozenset(), greedy))
    assert "seed" not in server.asked[0]


def test_a_server_that_renders_every_prompt_gets_none_that_is_rendered_already(server):
    server.owner = "library"
    with pytest.raises(UserError, match=r"ollama renders every prompt by its own chat template, .*: leave it out"):
        evaluate.open_engine(config_for(server, tokenizer="embedded"), None)


def test_a_users_concurrency_wins(server):
    server.owner = "vllm"
    assert evaluate.open_engine(config_for(server, concurrency="7"), None).provenance["concurrency"] == 7


def test_a_setting_that_a_strict_server_refuses_is_named(tmp_path, server):
    refusal = {"error": {"message": "Unrecognized request argument supplied: top_k"}}
    server.misbehave = lambda count: lambda handler: handler.answer(400, refusal)
    run = Run.create(tmp_path / "run", config_for(server, "top_k=64"), "harness run")
    with pytest.raises(UserError, match=r"does not take top_k .*: --set top_k=0 evaluates without it"):
        evaluate.evaluate(run, ["before"], None, True, None)


def test_a_name_that_changes_nothing_is_refused(tmp_path, server):
    config = config_for(server)
    run = Run.create(tmp_path / "run", config.model_copy(update={"adapter": "base"}), "harness run")
    with pytest.raises(UserError, match="is it served by that name"):
        evaluate.evaluate(run, state_names(BOTH), "base", True, None)


@pytest.mark.parametrize(
    ("vary", "said"), [(0, None), (3, None), (4, "100% change with it and 33% without"), (12, "and 100% without")]
)
def test_greedy_replies_that_vary_by_themselves_are_no_fault_of_the_adapters(tmp_path, server, vary, said):
    """Each probe is asked of the base, of the adapter, and of the base again."""
    config, probes = config_for(server), 12
    server.misbehave = lambda count: (
        (lambda handler: handler.answer(200, completion("another"))) if 0 < count - 2 * probes <= vary else None
    )
    run = Run.create(tmp_path / "run", config, "harness run")
    if said is None:
        evaluate.evaluate(run, state_names(BOTH), "lora", True, None)
    else:
        with pytest.raises(UserError, match=f"cannot be told from .* {said}: let nobody else use the server"):
            evaluate.evaluate(run, state_names(BOTH), "lora", True, None)


def test_a_question_to_a_server_that_fails_is_answered_in_a_line(harness, server):
    server.misbehave = lambda count: lambda handler: handler.answer(400, {"error": {"message": "no such template"}})
    done = harness("ask", "--engine", "openai", "--engine-arg", f"base_url={server.url}", "--engine-arg", "model=base",
                   "How many?")  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no such template" in done.stderr


@pytest.mark.parametrize(
    ("text", "apart", "believed"),
    [
        *(("We count 3 apples.", *row) for row in ((0, True), (8, True), (9, False), (-9, False), (10**9, False))),
        # Half a character's bytes are shown as one that has more tokens.
        ("We count \ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd apples.", -16, True),
    ],
)
def test_a_tokenizer_checks_how_many_tokens_a_server_counts(tmp_path, server, text, apart, believed):
    counted = len(loading.load_tokenizer("embedded").encode(text, add_special_tokens=False)) + 1
    said = {"choices": [{"text": text, "finish_reason": "stop"}], "usage": {"completion_tokens": counted + apart}}
    server.echoes = lambda handler: handler.answer(200, said)
    config = config_for(server, tokenizer=checkpoints.locate("embedded"))
    engine = evaluate.open_engine(config, None)
    wanted = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=False)[:1]
    ((_, completion),) = next(engine.generate(wanted, frozenset(), config.sampling))
    assert completion.n_tokens == (counted + apart if believed else counted)


@pytest.mark.parametrize(
    ("engine", "arguments", "about"),
    [
        ("openai", {}, "tokens per reply, as the server counts"),
        ("openai", {"tokenizer": "."}, "tokens per reply"),
        ("vllm", {}, "tokens per reply"),
    ],
)
def test_a_report_says_who_counts_the_tokens(engine, arguments, about):
    assert metric_row("tokens", [], [{}, {"engine": engine, "engine_args": arguments}]).about == about


@pytest.mark.parametrize(
    ("content", "finish_reason", "text"),
    [
        ("7", "stop", "<think>We count.</think>7"),
        (None, "length", "<think>We count."),
        (None, "stop", "<think>We count.</think>"),
    ],
)
def test_reasoning_that_a_server_splits_off_is_put_back_as_it_was_written(content, finish_reason, text):
    assert text_of({"content": content, "reasoning_content": "We count."}, finish_reason) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, "does not answer: start the server"),
        ({"base_url": "localhost:8000"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://[::1/v1"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://localhost:abc/v1"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://me:secret@localhost/v1"}, "OPENAI_API_KEY is read"),
        ({"base_url": "http://localhost/v1?key=secret"}, "OPENAI_API_KEY is read"),
        ({"base_url": "http://\u2603.-/v1"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://a b/v1"}, "give http://HOST:PORT/v1"),
        ({"concurrency": "1" * 5000}, "at least 1"),
        ({"model": "bass"}, "serves base, lora"),
        ({"concurrency": "0"}, "at least 1"),
        ({"retries": "many"}, "whole number"),
        ({"tokenizer": "no/such/thing"}, "no/such/thing"),
    ],
)
def test_mistakes_are_named(server, arguments, message):
    config = config_for(server, **arguments)
    with pytest.raises(UserError, match=message) as raised:
        evaluate.open_engine(config, None)
    assert "secret" not in str(raised.value)


def test_the_command_line_takes_a_served_name(harness, server):
    common = ("--engine", "openai", "--engine-arg", f"base_url={server.url}", "--engine-arg", "model=base")
    done = harness("run", *common, "--adapter", "lora", "--limit", "4", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "greedy replies" in done.stderr
    unknown = harness("run", *common, "--adapter", "lara", "--limit", "4", "--output", "other")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    trains = harness("run", *common, "--before-after", "--limit", "4", "--output", "third")
    assert trains.returncode == 2
    assert "cannot serve an adapter that this run trains" in trains.stderr
