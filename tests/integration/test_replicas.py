"""Replicas of an engine, each a process: the replies of one engine, and what a kill or a fault of one leaves behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import configuration, evaluate_until
from proc import children_of, command_of, looks_into_proc, wait_until_gone

from harness.data.datasets import evaluation_problems
from harness.engines.agreement import Text
from harness.errors import UserError
from harness.evaluation import evaluate
from harness.evaluation.prompts import requests
from harness.storage.run_folder import Run

TWO = {"data_parallel_size": "2"}
REPLICA = b"harness.engines.replica"
pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="each replica takes a core")


def replicated(config, folder, adapter=None):
    """The configured engine in replicas, loaded, and its requests."""
    sides, problems = ("before", "after") if adapter else ("before",), evaluation_problems(config)
    engine = evaluate.open_on_all_gpus(config, adapter, problems, sides, folder / "engine.log")
    asked = [each for side in sides for each in requests(config, problems, engine, side == "after")]
    engine.load(asked, config.max_tokens)
    return engine, asked


def replies(engine, asked, config, done=frozenset()):
    return {request.key: each for batch in engine.generate(asked, done, config.sampling) for request, each in batch}


@pytest.fixture(scope="module")
def both(adapter, tmp_path_factory):
    """One engine and two replicas of it, with an adapter."""
    config = configuration(limit=9, samples=2)
    folder = tmp_path_factory.mktemp("logs")
    alone, asked = replicated(config, folder, str(adapter))
    pair, _ = replicated(config.model_copy(update={"engine_args": TWO}), folder, str(adapter))
    return config, asked, alone, pair


def test_replies_are_those_of_one_engine_to_the_letter(both):
    config, asked, alone, pair = both
    whole = replies(alone, asked, config)
    assert len(whole) == 36
    assert replies(pair, asked, config) == whole
    done = set(list(whole)[::3])
    assert replies(pair, asked, config, done) == {key: each for key, each in whole.items() if key not in done}
    assert replies(pair, asked, config, whole.keys()) == {}


def test_the_rest_of_an_engine_is_the_first_replicas(both):
    config, asked, alone, pair = both
    assert pair.provenance == alone.provenance | {"data_parallel_size": 2}
    messages = [{"role": "user", "content": "2 + 3?"}]
    assert pair.render(messages) == alone.render(messages)
    probes = asked[:4]
    assert pair.adapter_effect(probes).difference == pytest.approx(alone.adapter_effect(probes).difference, abs=1e-4)
    texts = [Text((2, 5, 7, 11), 2)]
    assert pair.score(texts).base == pytest.approx(alone.score(texts).base, abs=1e-4)
    one, other = [], []
    last = pair.reply_to(asked[0], config.sampling, one.append)
    assert last == alone.reply_to(asked[0], config.sampling, other.append)
    assert one == other


def test_an_evaluation_that_was_cut_continues_with_as_many_replicas_or_another_number(tmp_path, monkeypatch):
    whole = Run.create(tmp_path / "whole", configuration(limit=12, engine_args={"batch_size": "2"}), "harness eval")
    evaluate.evaluate(whole, ["before"], None, True, None)
    wanted = whole.completions("before")
    run = Run.create(tmp_path / "run", configuration(limit=12, engine_args=TWO | {"batch_size": "2"}), "harness eval")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "another"))
    evaluate_until(run, wanted[3].text)
    kept = (run.path / "before" / "completions.jsonl").read_bytes()
    assert 0 < kept.count(b"\n") < 12
    run.record.set_command("harness eval", whole.config)
    evaluate.evaluate(run, ["before"], None, True, None)
    assert (run.path / "before" / "completions.jsonl").read_bytes().startswith(kept)
    assert run.completions("before") == wanted
    (earlier,) = run.record.provenance["before"]["earlier_paces"]
    assert earlier == {
        "replies": kept.count(b"\n"),
        "arguments": {"data_parallel_size": 2, "batch_size": 2},
    }


def test_a_mistake_that_a_replica_finds_is_the_users_line(tmp_path):
    config = configuration(limit=4, engine_args=TWO)
    with pytest.raises(UserError, match=f"--adapter {tmp_path}/gone: does not go with this model"):
        replicated(config, tmp_path, str(tmp_path / "gone"))


def test_a_bug_in_a_replica_is_a_traceback(tmp_path):
    config = configuration(limit=9, engine_args=TWO)
    engine, asked = replicated(config, tmp_path)
    with pytest.raises(RuntimeError, match=r"in replica [12]:\nTraceback(.|\n)*AttributeError"):
        list(engine.generate(asked, frozenset(), sampling=None))
    assert all(replica.process.poll() is not None for replica in engine.replicas)


@pytest.fixture
def generating(tmp_path):
    """An evaluation by two replicas under way: its command, its process, the processes of the replicas, the journal."""
    command = [f"{sys.prefix}/bin/harness", "eval", "--limit", "80", "--engine-arg", "batch_size=1", "--output", "r"]
    command += ["--engine-arg", "data_parallel_size=2"]
    journal = tmp_path / "r/before/completions.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ) as program:
        while not (journal.is_file() and journal.stat().st_size):
            time.sleep(0.05)
            assert program.poll() is None
        replicas = [number for number in children_of(program.pid) if REPLICA in command_of(number)]
        assert len(replicas) == 2
        yield command, program, replicas, journal
        program.kill()


@looks_into_proc
def test_a_killed_replica_ends_the_run_in_a_line_and_the_same_command_continues(generating, tmp_path):
    command, program, replicas, journal = generating
    os.kill(replicas[1], signal.SIGKILL)
    said = program.stderr.read().splitlines()
    assert program.wait() == 2
    assert said[-1] == (
        "harness: replica 2 was ended by SIGKILL (out of memory?): the same command continues from here"
    )
    assert "in 2 processes" in "\n".join(said)
    assert not any("Traceback" in line for line in said)
    wait_until_gone(replicas, REPLICA, 5)
    kept = journal.read_bytes()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert again.returncode == 0, again.stderr
    assert journal.read_bytes().startswith(kept)
    assert kept.count(b"\n") < journal.read_bytes().count(b"\n") == 80


@looks_into_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_no_replica_outlives_its_command(generating, number):
    _, program, replicas, _ = generating
    started = time.monotonic()
    program.send_signal(number)
    program.stderr.read()
    assert program.wait() == (-number if number == signal.SIGKILL else 130)
    wait_until_gone(replicas, REPLICA, 5)
    assert time.monotonic() - started < 5
