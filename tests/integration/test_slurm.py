"""Replicas on another machine of a Slurm job. Slurm is a stand-in here, which runs the step on this machine.

What Slurm itself does was tried by hand (harness/ECOSYSTEM.md).
"""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import configuration
from proc import command_of, looks_into_proc, wait_until_gone

from harness.data.datasets import evaluation_problems
from harness.engines import gpus, network, replicas
from harness.errors import UserError
from harness.evaluation import evaluate
from harness.evaluation.prompts import requests

SRUN = """#!/bin/sh
while :; do case "$1" in --*) echo "$1" >> {asked}; shift;; *) break;; esac; done
export SLURM_LAUNCH_NODE_IPADDR=127.0.0.1
{runs}
"""


@pytest.fixture
def job(monkeypatch, tmp_path):
    """The batch script's environment in a job of two machines of one core each; a function that sets what srun does."""
    programs = tmp_path / "programs"
    programs.mkdir()

    def write(name, text):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def srun(runs):
        write("srun", SRUN.format(asked=tmp_path / "asked", runs=runs))

    write("scontrol", '#!/bin/sh\nprintf "n1\\nn2\\n"\n')
    srun('exec "$@"')
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    monkeypatch.setattr(gpus, "of_this_machine", lambda: ([], 1))
    return srun


def on_both(folder):
    config = configuration(limit=9, samples=2, engine_args={"data_parallel_size": "2"})
    problems = evaluation_problems(config)
    return config, problems, evaluate.open_on_all_gpus(config, None, problems, ["before"], folder / "engine.log")


def test_replies_from_two_machines_are_those_of_one_engine(job, tmp_path):
    config, problems, engine = on_both(tmp_path)
    asked = requests(config, problems, engine, False)
    engine.load(asked, config.max_tokens)
    alone = evaluate.open_engine(config, None)
    alone.load(asked, config.max_tokens)
    replies, wanted = (
        {request.key: each for batch in one.generate(asked, frozenset(), config.sampling) for request, each in batch}
        for one in (engine, alone)
    )
    assert len(wanted) == 18
    assert replies == wanted
    assert engine.provenance["machines"] == 2
    # A job may have been submitted with --export=NONE.
    assert {"--nodelist=n2", "--export=ALL"} <= set((tmp_path / "asked").read_text().splitlines())


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("exit 1", "replica 2 on n2 ended with exit code 1, its messages are in engine.log"),
        ("exit 137", r"replica 2 on n2 was ended by SIGKILL \(out of memory\?\)"),
        ("exit 255", "replica 2 on n2 ended with exit code 255"),
    ],
)
def test_a_step_that_slurm_does_not_start_is_a_line(job, tmp_path, runs, message):
    job(runs)
    with pytest.raises(UserError, match=message):
        on_both(tmp_path)


def test_a_step_that_slurm_lets_wait_is_a_line(job, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "CALLS_WITHIN", 1.0)
    job("exec sleep 60")
    started = time.monotonic()
    with pytest.raises(UserError, match="replica 2 on n2 was not there within 1 s"):
        on_both(tmp_path)
    assert time.monotonic() - started < 20


def test_a_replica_that_is_gone_while_its_step_goes_on_is_a_line(job, tmp_path, monkeypatch):
    monkeypatch.setattr(replicas, "TELLS_WITHIN", 1.0)
    job(f'"$@" & echo $! > {tmp_path}/elsewhere; exec sleep 60')
    config, problems, engine = on_both(tmp_path)
    os.kill(int((tmp_path / "elsewhere").read_text()), signal.SIGKILL)
    with pytest.raises(UserError, match="replica 2 on n2 is gone: the same command continues from here"):
        engine.load(requests(config, problems, engine, False), config.max_tokens)
    assert all(replica.process.poll() is not None for replica in engine.replicas)


def test_only_who_has_the_key_is_connected(monkeypatch):
    """Others who call get nothing, and do not keep the one who is expected from its place."""
    monkeypatch.setattr(network, "CALLS_WITHIN", 20.0)
    monkeypatch.setattr(network, "SHOWS_KEY_WITHIN", 10.0)
    expected = network.ExpectedCall()
    address = ("127.0.0.1", int(expected.port))
    silent = [socket.create_connection(address) for _ in range(5)]
    slow, loud = socket.create_connection(address), socket.create_connection(address)
    slow.sendall(b"\0\0\0\xff!")
    loud.sendall(b"GET / HTTP/1.1\r\n\r\n")
    calls = (
        "import sys; from harness.engines.network import call_back; call_back('127.0.0.1', sys.argv[1]).send('here')"
    )
    command = [sys.executable, "-c", calls, expected.port]
    wrong = os.environ | {network.KEY: "another"}
    with (
        slow,
        loud,
        subprocess.Popen(command, env=wrong, stderr=subprocess.DEVNULL) as stranger,
        subprocess.Popen(command, env=os.environ | expected.environment) as caller,
        expected.taken(caller) as connection,
    ):
        assert connection.recv() == "here"
        assert stranger.wait() == 1
        assert caller.wait() == 0
    for one in silent:
        one.close()


REPLICA = b"harness.engines.replica"


@looks_into_proc
def test_no_replica_elsewhere_outlives_its_command(job, tmp_path):
    """On another machine no signal of Linux reaches a replica when we are killed: the end of the connection does."""
    job(f'setsid "$@" & echo $! > {tmp_path}/elsewhere; wait')
    script = (
        "from harness.engines import gpus; gpus.of_this_machine = lambda: ([], 1);from harness.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "eval", "--limit", "80", "--engine-arg", "batch_size=1"]
    command += ["--engine-arg", "data_parallel_size=2", "--output", "r"]
    journal = tmp_path / "r/before/completions.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=os.environ) as program:
        while not (journal.is_file() and journal.stat().st_size):
            time.sleep(0.05)
            assert program.poll() is None
        replica = int((tmp_path / "elsewhere").read_text())
        assert REPLICA in command_of(replica)
        program.send_signal(signal.SIGKILL)
        program.wait()
    wait_until_gone([replica], REPLICA, 20)
