"""Servers that die, hang and talk nonsense: a bounded number of tries, one line, nothing lost, nothing drawn twice."""

import gzip
import json
import re
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from conftest import configuration, serving
from openai_server import Handler, Server, completion

from harness.cli import exit_code_of
from harness.engines import openai_client
from harness.evaluation import evaluate
from harness.storage.run_folder import Run

CONTINUES = "what was generated is kept, the same command continues"
PROTOCOL = "does not answer in OpenAI's protocol"
PROBLEMS = 8


@pytest.fixture
def server():
    with serving(Server()) as server:
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.02)


def status(code: int, body: dict | str | bytes = '{"error": {"message": "a fault"}}', **headers: str):
    return lambda handler: handler.answer(code, body, **headers)


def says(body: object, **headers: str):
    return status(200, body if isinstance(body, bytes | dict) else json.dumps(body), **headers)


def raw(*parts: bytes):
    """What a server writes byte by byte, and then hangs up."""

    def write(handler: Handler) -> None:
        for part in parts:
            handler.wfile.write(part)

    return write


def die(handler: Handler) -> None:
    handler.server.socket.close()


def hang(handler: Handler) -> None:
    handler.server.released.wait(30)


def trickle(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not handler.server.released.wait(0.1):
        handler.wfile.write(b" ")


def endless(handler: Handler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"choices": "')
    while not handler.server.released.is_set():
        handler.wfile.write(b"a" * 2**20)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = json.dumps(completion("7")).encode()
SHORT = raw(OK + b"Content-Length: %d\r\n\r\n" % (len(WHOLE) + 50), WHOLE)
CUT_OFF = raw(OK + b"Content-Length: %d\r\n\r\n" % (len(WHOLE) - 50), WHOLE)
CHUNKS = raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(WHOLE), WHOLE[:40])
PACKED = says(gzip.compress(WHOLE), Content_Encoding="gzip")
BOMB = says(gzip.compress(b" " * 2**27), Content_Encoding="gzip")
DROPPED = raw()
PAGE = status(200, "<html>a gateway's page</html>", Content_Type="text/html")


def config_for(server: Server, **arguments: str):
    given = {"base_url": server.url, "model": "base", "retries": "2", "timeout": "20"} | arguments
    return configuration(limit=PROBLEMS, engine="openai", engine_args=given)


def evaluation(run: Run) -> int:
    return exit_code_of(lambda: evaluate.evaluate(run, ["before"], None, True, None))


PASSING = {
    "429": status(429),
    "429, a pause of 1 s": status(429, Retry_After="1"),
    "429, a negative pause": status(429, Retry_After="-1"),
    "429, no number": status(429, Retry_After="nan"),
    "429, a word": status(429, Retry_After="soon"),
    "429, a date gone by": status(429, Retry_After=formatdate(0, usegmt=True)),
    "503 and a page": status(503, "<html>starting</html>"),
    "hung up": DROPPED,
    "not HTTP": raw(b"\x16\x03\x01 not HTTP\r\n"),
    "a page": PAGE,
    "less than announced": SHORT,
    "more than announced": CUT_OFF,
    "chunks cut short": CHUNKS,
    "an error under 200": says({"error": {"message": "upstream"}}),
    "hangs": hang,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_waited_for(tmp_path, server, fault):
    server.misbehave = lambda count: fault if count == 3 else None
    run = Run.create(tmp_path / "run", config_for(server, timeout="1" if fault is hang else "20"), "harness run")
    started = time.monotonic()
    assert evaluation(run) == 0
    assert time.monotonic() - started < 15
    assert len(run.completions("before")) == PROBLEMS
    assert len(server.asked) == PROBLEMS + 1


@pytest.mark.parametrize(
    ("fault", "tries", "line"),
    [
        (status(500, {"error": {"message": "out of memory"}}), 2, r"answered 500 .*out of memory.*"),
        (status(429), 2, "gets too many requests: lower --engine-arg concurrency"),
        (status(429, Retry_After="1e9"), 1, r"gets too many requests \(none for 1000000000 s\): lower"),
        (status(429, Retry_After="inf"), 1, r"gets too many requests \(none for inf s\)"),
        (status(429, Retry_After=formatdate(4e9, usegmt=True)), 1, r"gets too many requests \(none for \d+ s\)"),
        (status(400, {"error": {"message": "prompt\n\x1b[31mtoo long"}}), 1, "answered 400 .*too long"),
        (status(401), 1, "set OPENAI_API_KEY"),
        (status(403), 1, "answered 403"),
        (status(404, {"error": {"message": "The model `base` does not exist"}}), 1, "404 .*`base` does not exist"),
        (status(307, "moved", Location="http://elsewhere.invalid/v1"), 1, "307 .look there: http://elsewhere.invalid"),
        (status(302, "moved", Location="/v2"), 1, "302 .look there: /v2"),
        (DROPPED, 2, "does not answer: what was generated"),
        (SHORT, 2, "does not answer: what was generated"),
        (PAGE, 2, f"{PROTOCOL} .not JSON: <html>a gateway"),
        (says(b""), 2, f"{PROTOCOL} .not JSON: nothing"),
        (says(b"[" * 100_000), 2, f"{PROTOCOL} .not JSON"),
        (says([1]), 2, f"{PROTOCOL} .not an object"),
        (says({"choices": []}), 2, f"{PROTOCOL} .no choices"),
        (says({"choices": {}}), 2, f"{PROTOCOL} .no choices"),
        (says({"choices": [7]}), 2, f"{PROTOCOL} .no choices"),
        (says({"error": {"message": "upstream is gone"}}), 2, f"{PROTOCOL} .no choices, error: .*upstream is gone"),
        (says(completion(7)), 2, f"{PROTOCOL} .a reply that is no text but int"),
        (says(completion([{"type": "text", "text": "7"}])), 2, f"{PROTOCOL} .a reply that is no text but list"),
        (says(completion("7", reasoning_content={"a": 1})), 2, f"{PROTOCOL} .a reply that is no text but dict"),
        (says({"choices": [{"index": 0}], "usage": {"completion_tokens": 1}}), 2, f"{PROTOCOL} .* no text but None"),
        (says(completion("7", tokens=None)), 2, f"{PROTOCOL} .no usage.completion_tokens"),
        (says(completion("7", tokens=-1)), 2, f"{PROTOCOL} .no usage.completion_tokens"),
        (says(completion("7") | {"usage": None}), 2, f"{PROTOCOL} .no usage.completion_tokens"),
        (endless, 2, f"{PROTOCOL} .longer than 266,240 bytes"),
        (PACKED, 2, f"{PROTOCOL} .not JSON"),
        (BOMB, 2, f"{PROTOCOL} .not JSON"),
        (hang, 2, "does not answer in time: raise --engine-arg timeout"),
        (trickle, 2, "does not answer in time: raise --engine-arg timeout"),
    ],
)
def test_what_lasts_ends_in_a_line_and_the_rest_is_drawn_later(tmp_path, server, capsys, fault, tries, line):
    """One more try, where it may go better at all."""
    server.misbehave = lambda count: fault if count > 3 else None
    given = {"timeout": "1"} if fault in (hang, trickle) else {}
    run = Run.create(tmp_path / "run", config_for(server, concurrency="1", retries="1", **given), "harness run")
    started = time.monotonic()
    assert evaluation(run) == 2
    assert time.monotonic() - started < 15
    (said,) = capsys.readouterr().err.splitlines()
    assert said.isprintable()
    assert said.endswith(CONTINUES)
    assert len(said) < 400
    assert re.search(line, said), said
    assert len(server.asked) == 3 + tries
    kept = (run.path / "before" / "completions.jsonl").read_bytes()
    assert kept.count(b"\n") == 3
    server.misbehave, server.asked = lambda count: None, []
    assert evaluation(run) == 0
    assert (run.path / "before" / "completions.jsonl").read_bytes().startswith(kept)
    assert len(run.completions("before")) == PROBLEMS
    assert len(server.asked) == PROBLEMS - 3


def test_a_hang_is_not_waited_for_again_and_again(tmp_path, server, capsys):
    server.misbehave = lambda count: hang
    run = Run.create(tmp_path / "run", config_for(server, concurrency="1", retries="9", timeout="1"), "harness run")
    assert evaluation(run) == 2
    assert len(server.asked) == 2


def test_pauses_grow_and_end(tmp_path, server, monkeypatch):
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(openai_client, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(openai_client.asyncio, "sleep", sleep)
    server.misbehave = lambda count: status(500)
    run = Run.create(tmp_path / "run", config_for(server, concurrency="1", retries="7"), "harness run")
    assert evaluation(run) == 2
    assert len(pauses) == 7
    longest = (0.5, 1, 2, 4, 8, 8, 8)
    assert all(0.75 * most <= pause <= most for pause, most in zip(pauses, longest, strict=True)), pauses


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (hang, "does not answer in time"),
        (trickle, "does not answer in time"),
        (DROPPED, "does not answer: start the server"),
        (PAGE, f"{PROTOCOL} .*does it end in /v1"),
        (says({"data": [{"name": "base"}]}), f"{PROTOCOL} .no list of models"),
        (says({"data": 3}), f"{PROTOCOL} .no list of models"),
        (endless, PROTOCOL),
        (status(500), "answered 500"),
    ],
)
def test_a_list_of_models_that_is_none(tmp_path, server, capsys, monkeypatch, fault, line):
    monkeypatch.setattr("harness.engines.openai.CONNECT_SECONDS", 1)
    server.models = fault
    started = time.monotonic()
    assert exit_code_of(lambda: evaluate.open_engine(config_for(server), None)) == 2
    assert time.monotonic() - started < 15
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(line, said), said


def test_a_server_that_dies_and_comes_back(harness):
    """The command a user types, and again with another patience, which is no other run."""
    first = Server()
    first.misbehave = lambda count: die if count > 3 else None
    command = ["eval", "--engine", "openai", "--engine-arg", f"base_url={first.url}", "--engine-arg", "model=base"]
    command += ["--limit", PROBLEMS, "--output", "out", "--engine-arg"]
    with serving(first):
        died = harness(*command, "retries=1")
    assert died.returncode == 2
    assert died.stderr.splitlines()[-1].endswith(f"does not answer: {CONTINUES}")
    assert "Traceback" not in died.stderr
    journal = Path("out/before/completions.jsonl")
    kept = journal.read_bytes()
    refused = harness(*command, "retries=1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "start the server" in refused.stderr
    with serving(Server(first.server_port)) as second:
        done = harness(*command, "timeout=20", "--engine-arg", "concurrency=2")
    assert done.returncode == 0, done.stderr
    assert journal.read_bytes().startswith(kept)
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({row["problem_id"] for row in rows}) == len(rows) == PROBLEMS
    assert len(second.asked) == PROBLEMS - kept.count(b"\n")
    assert json.loads(Path("out/run.json").read_text())["configuration"]["engine_args"]["timeout"] == "20"
