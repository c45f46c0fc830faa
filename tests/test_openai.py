"""The openai engine against a server of our own that can be told to misbehave; a real one answers in test_vllm.py."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from conftest import configuration

from harness import evaluate
from harness.engines.openai import _text
from harness.errors import UserError
from harness.store import BOTH, Run, parts

REPLY = "<start_working_out>\nWe count.\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"


class Server(ThreadingHTTPServer):
    """Serves `base` and the LoRA `lora`; `misbehave` is asked first about every reply."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked: list[dict] = []
        self.keys: set[str] = set()
        self.misbehave = lambda count: None


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code: int, body: dict | str) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        served = [{"id": name, "object": "model", "owned_by": "test"} for name in ("base", "lora")]
        if self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": served})
        else:
            self.answer(404, {"error": {"message": "no such page"}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.answer(404, {"error": {"message": "chat only"}})
            return
        self.server.asked.append(asked)
        self.server.keys.add(self.headers["Authorization"])
        fault = self.server.misbehave(len(self.server.asked))
        if fault:
            self.answer(*fault)
            return
        text = REPLY.format(7 if asked["model"] == "lora" else len(asked["messages"][-1]["content"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self.answer(200, {"id": "1", "object": "chat.completion", "choices": [choice],
                          "usage": {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}})  # fmt: skip


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def config_for(server, *settings, **arguments):
    given = {"base_url": server.url, "model": "base", "retries": "2"} | arguments
    return configuration(*settings, limit=12, engine="openai", engine_args=given, adapter="lora")


def test_both_sides_by_their_served_names(tmp_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    run = Run.create(tmp_path / "run", config_for(server, concurrency="3"), "harness run")
    evaluate.evaluate(run, parts(BOTH), "lora", True, None)
    assert {each.text for each in run.completions("after")} == {REPLY.format(7)}
    assert len({each.text for each in run.completions("before")}) > 1
    assert [each.n_tokens for each in run.completions("before")] == [9] * 12
    after = run.record["provenance"]["after"]
    assert after["adapter"] == {"served as": "lora"}
    assert after["adapter_effect"]["evidence"] == "greedy replies"
    assert server.keys == {"Bearer sk-planted"}
    assert not [file for file in run.path.rglob("*") if file.is_file() and b"sk-planted" in file.read_bytes()]


def test_a_served_name_may_look_like_a_folder(server):
    assert evaluate.adapter_record(config_for(server), "/srv/lora") == {"served as": "/srv/lora"}


def test_only_settings_that_are_set_are_sent(tmp_path, server):
    run = Run.create(tmp_path / "run", config_for(server, "top_k=0", "min_p=0.1"), "harness run")
    evaluate.evaluate(run, ["before"], None, True, None)
    sent = server.asked[0]
    assert sent["min_p"] == 0.1
    assert "top_k" not in sent
    assert sent["messages"][-1]["role"] == "user"


def test_a_name_that_changes_nothing_is_refused(tmp_path, server):
    config = config_for(server)
    run = Run.create(tmp_path / "run", config.model_copy(update={"adapter": "base"}), "harness run")
    with pytest.raises(UserError, match="is it served by that name"):
        evaluate.evaluate(run, parts(BOTH), "base", True, None)


@pytest.mark.parametrize("fault", [(429, {"error": {"message": "slow down"}}), (500, {"error": {"message": "broken"}})])
def test_a_passing_fault_is_tried_again(tmp_path, server, fault):
    server.misbehave = lambda count: fault if count == 3 else None
    run = Run.create(tmp_path / "run", config_for(server), "harness run")
    evaluate.evaluate(run, ["before"], None, True, None)
    assert len(run.completions("before")) == 12


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((500, {"error": {"message": "out of memory"}}), r"answered 500 .*out of memory.*the same command goes on"),
        ((400, {"error": {"message": "prompt too long"}}), r"answered 400 .*prompt too long.*goes on"),
        ((401, {"error": {"message": "key?"}}), "set OPENAI_API_KEY"),
        ((200, "nonsense"), "OpenAI's protocol"),
        ((200, {"choices": []}), "OpenAI's protocol"),
    ],
)
def test_a_server_that_fails_half_way_loses_nothing(tmp_path, server, fault, message):
    server.misbehave = lambda count: fault if count > 5 else None
    config = config_for(server, concurrency="1", retries="0")
    run = Run.create(tmp_path / "run", config, "harness run")
    with pytest.raises(UserError, match=message) as raised:
        evaluate.evaluate(run, ["before"], None, True, None)
    assert "\n" not in str(raised.value)
    kept = run.completions("before")
    assert len(kept) == 5
    server.misbehave, server.asked = lambda count: None, []
    evaluate.evaluate(run, ["before"], None, True, None)
    assert len(run.completions("before")) == 12
    assert len(server.asked) == 7


def test_a_question_to_a_server_that_fails_is_answered_in_a_line(harness, server):
    server.misbehave = lambda count: (400, {"error": {"message": "no such template"}})
    done = harness("ask", "--engine", "openai", "--engine-arg", f"base_url={server.url}", "--engine-arg", "model=base",
                   "How many?")  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no such template" in done.stderr


@pytest.mark.parametrize(
    ("content", "finish_reason", "text"),
    [
        ("7", "stop", "<think>We count.</think>7"),
        (None, "length", "<think>We count."),
        (None, "stop", "<think>We count.</think>"),
    ],
)
def test_reasoning_that_a_server_splits_off_is_put_back_as_it_was_written(content, finish_reason, text):
    message = SimpleNamespace(content=content, reasoning_content="We count.")
    assert _text(message, finish_reason) == text


def test_a_server_that_hangs_is_given_up(tmp_path, server):
    free = threading.Event()
    server.misbehave = lambda count: free.wait(20) and None
    run = Run.create(tmp_path / "run", config_for(server, timeout="1", retries="0"), "harness run")
    with pytest.raises(UserError, match="raise --engine-arg timeout"):
        evaluate.evaluate(run, ["before"], None, True, None)
    free.set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, "does not answer: start the server"),
        ({"base_url": "localhost:8000"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://[::1/v1"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://localhost:abc/v1"}, "give http://HOST:PORT/v1"),
        ({"base_url": "http://me:secret@localhost/v1"}, "set OPENAI_API_KEY"),
        ({"base_url": "http://localhost/v1?key=secret"}, "set OPENAI_API_KEY"),
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
