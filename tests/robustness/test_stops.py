"""A run that is told to stop: in order, soon, with a word on how to go on, and no finished reply lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = f"{sys.prefix}/bin/harness"
COMMAND = ("run", "--limit", "32", "--engine-arg", "batch_size=2", "--output", "r")
STOPPED = "harness: stopped; the same command continues from what is done\n"


def ended(code: str) -> tuple[int, str, str]:
    """How a Python program ended, and what it printed on stdout and stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_in_order_and_the_same_command_goes_on(harness, tmp_path, number):
    journal = tmp_path / "r/before/completions.jsonl"
    with subprocess.Popen([PROGRAM, *COMMAND], stderr=subprocess.PIPE, text=True) as program:
        while not (journal.is_file() and journal.stat().st_size):
            time.sleep(0.05)
            assert program.poll() is None
        started = time.monotonic()
        program.send_signal(number)
        said = program.stderr.read()
    assert time.monotonic() - started < 5
    assert program.returncode == 130
    assert said.endswith(STOPPED)
    assert "Traceback" not in said
    kept = journal.read_bytes()
    again = harness(*COMMAND)
    assert again.returncode == 0, again.stderr
    assert journal.read_bytes().startswith(kept)
    assert kept.count(b"\n") < journal.read_bytes().count(b"\n") == 32


@pytest.mark.parametrize("seconds", [0, 0.3, 0.6])
def test_ctrl_c_while_a_stage_starts_is_one_line(tmp_path, monkeypatch, seconds):
    """A terminal sends it to every process; one that is still importing has nothing to say."""
    monkeypatch.chdir(tmp_path)
    command = [PROGRAM, *COMMAND]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        assert any(line.startswith("run folder: ") for line in program.stderr)
        time.sleep(seconds)
        os.killpg(program.pid, signal.SIGINT)
        said = program.stderr.read()
    assert (program.returncode, said) == (130, STOPPED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_while_it_leaves_changes_nothing_of_how_it_ended(number):
    """The exit functions of libraries take their time, and print what is raised in them."""
    code = f"""
import atexit, signal, time
from harness import cli
atexit.register(lambda: [signal.raise_signal({number.value}), time.sleep(60)])
cli.end_with(lambda: print("done", flush=True) or 3, 4)
"""
    assert ended(code) == (3, "done\n", "")


@pytest.mark.parametrize("error", ["ValueError('no header')", "UserError('a damaged file')", "OSError(5, 'read')"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_what_a_library_makes_of_a_stop_is_a_stop(number, error):
    """safetensors raises an error of its own where Ctrl-C comes while it reads."""
    code = f"""
import signal
from harness import cli
from harness.errors import UserError
def command():
    try:
        signal.raise_signal({number.value})
    except KeyboardInterrupt:
        raise {error}
cli.end_with(command, 4)
"""
    assert ended(code) == (130, "", STOPPED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_that_came_while_python_cleans_up_is_one_line(number):
    """Python prints what is raised in a __del__ or a callback of its imports, and goes on with the command."""
    code = f"""
import signal, time
from harness import cli
class Cleaned:
    def __del__(self):
        signal.raise_signal({number.value})
        time.sleep(0.1)
def command():
    for _ in range(2):
        Cleaned()
    time.sleep(60)
cli.end_with(command, 40)
"""
    assert ended(code) == (130, "", STOPPED)


def test_two_signals_at_once_are_one_stop():
    """Ctrl-C reaches every process, and the command then tells its stage to end, which may not have seen it yet."""
    code = """
import signal
from harness import cli
from harness.processes import STOPS
def command():
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    for number in STOPS:
        signal.raise_signal(number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
cli.end_with(command, 4)
"""
    assert ended(code) == (130, "", STOPPED)


def test_a_reader_of_the_progress_that_leaves_stops_it_and_the_same_command_goes_on(harness, tmp_path):
    """As `harness run 2>&1 | head -1`: the stage has not come to its end, whatever it was told to print."""
    with subprocess.Popen([PROGRAM, *COMMAND], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr.readline()
        program.stderr.close()
    assert program.returncode == 130
    assert not (tmp_path / "r/report").exists()
    again = harness(*COMMAND)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "r/report/index.html").is_file()


def test_output_that_is_closed_is_no_bug():
    done = subprocess.run(f"{PROGRAM} models >&-", shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
