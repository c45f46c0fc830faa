"""Twenty rounds of the chaos script, a fixed seed: each attack once, and some twice. And that its forks keep apart."""

import json
import signal
import subprocess
import sys

import pytest

from baselines.robustness.attacks import ATTACKS

# Prints once whatever happens: in a fork that a signal sends back here it is printed twice.
A_COMMAND_THAT_IS_STOPPED_AT_ONCE = """
import os, signal, sys, tempfile
from pathlib import Path
from baselines.robustness.world import Program
folder = Path(tempfile.mkdtemp())
try:
    program = Program(["models"], folder, lambda: signal.raise_signal({number}))
    code = program.wait()
finally:
    os.write(1, b"here ")
print(code)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_before_a_command_has_handlers_ends_it_and_nothing_else(number):
    code = A_COMMAND_THAT_IS_STOPPED_AT_ONCE.format(number=number.value)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"here -{number.value}\n", "")


def test_twenty_rounds_end_as_undisturbed_commands_do(tmp_path):
    command = [sys.executable, "-m", "baselines.robustness.chaos", "--rounds", "20", "--seed", "20"]
    done = subprocess.run([*command, "--output", tmp_path / "found.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["attacks"]
    assert found.keys() == ATTACKS.keys()
    assert sum(row["held"] for row in found.values()) == 20
    needs_no_rights = [name for name, each in ATTACKS.items() if not each.mounts]
    assert all(found[name]["tried"] for name in needs_no_rights)
