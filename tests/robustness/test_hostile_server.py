"""Everything that hostile_server.py names is done to an evaluation: it ends in success or in one line within seconds.

The folder can be read afterwards and is continued by an honest server, and memory stays bounded.
"""

import re
import ssl
import time
from pathlib import Path

import pytest
from conftest import configuration, serving
from hostile_server import CODED, KEY, LOG_PROBABILITIES, MODELS, REPLIES, SLOW
from openai_server import Server

from harness.cli import exit_code_of
from harness.evaluation import evaluate
from harness.stages import BOTH, state_names
from harness.storage.run_folder import Run

PROBLEMS = 3
CERTIFICATES = ssl.create_default_context()
SECONDS = 60
MOST_BYTES = 600 * 2**20


@pytest.fixture(scope="module")
def one_server():
    with serving(Server()) as server:
        yield server


@pytest.fixture
def server(one_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("harness.engines.openai.CONNECT_SECONDS", 2)
    # Certificates, which no test here needs, take a third of its time.
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: CERTIFICATES)
    yield one_server
    one_server.misbehave, one_server.models, one_server.echoes = lambda count: None, None, None
    # What hangs is let go.
    one_server.released.set()
    one_server.released.clear()


@pytest.fixture
def bounded():
    """No more memory than MOST_BYTES above what the process has, the server's own bytes included."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    yield
    assert (_kilobytes("VmHWM") - before) * 1024 < MOST_BYTES


def _kilobytes(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def evaluated(path: Path, server: Server, sides: tuple[str, ...] = ("before",), adapter: str | None = None, **given):
    arguments = {"base_url": server.url, "concurrency": "1", "retries": "0", "timeout": "20"} | given
    config = configuration(limit=PROBLEMS, engine="openai", engine_args=arguments, adapter=adapter)
    run = Run.create(path, config, "harness run")
    return exit_code_of(lambda: evaluate.evaluate(run, sides, adapter, True, None)), run


def the_line(capsys, pattern: str) -> None:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("harness: ")
    assert line.isprintable()
    assert len(line) < 600
    assert re.search(pattern, line), line


def assert_no_key(path: Path, said: str) -> None:
    for file in (each for each in path.rglob("*") if each.is_file()):
        said += file.read_text(encoding="utf-8")
    assert KEY not in said
    assert CODED[12:-4] not in said


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_of_a_hostile_server(name, tmp_path, server, bounded, capsys):
    fault, pattern = REPLIES[name]
    server.asked = []
    server.misbehave = lambda count: fault if count > 1 else None
    started = time.monotonic()
    code, run = evaluated(tmp_path / "run", server, model="base", timeout="2" if pattern == SLOW else "20")
    assert time.monotonic() - started < SECONDS
    assert code == (2 if pattern else 0)
    kept = run.completions("before")
    assert len(kept) == (1 if pattern else PROBLEMS)
    if pattern:
        the_line(capsys, pattern)
    server.misbehave = lambda count: None
    code, run = evaluated(tmp_path / "run", server, model="base")
    assert (code, capsys.readouterr().err) == (0, "")
    assert run.evaluation("before").completions[: len(kept)] == tuple(kept)
    assert_no_key(run.path, "")


@pytest.mark.parametrize("name", MODELS)
def test_a_list_of_models_of_a_hostile_server(name, tmp_path, server, bounded, capsys):
    server.models, pattern = MODELS[name]
    started = time.monotonic()
    code, run = evaluated(tmp_path / "run", server)
    assert time.monotonic() - started < SECONDS
    assert code == 2
    the_line(capsys, pattern)
    server.models = None
    assert evaluated(tmp_path / "run", server)[0] == 2
    the_line(capsys, "serves base, lora: name one by --engine-arg model=NAME")
    assert_no_key(run.path, "")


@pytest.mark.parametrize("name", LOG_PROBABILITIES)
def test_log_probabilities_of_a_hostile_server(name, tmp_path, server, bounded, capsys):
    server.echoes = LOG_PROBABILITIES[name]
    code, run = evaluated(tmp_path / "run", server, state_names(BOTH), "lora", model="base")
    assert (code, capsys.readouterr().err) == (0, "")
    assert run.record.provenance["after"]["adapter_effect"]["evidence"] == "greedy replies"
    assert {side.name for side in run.evaluations()} == {"before", "after"}
