"""Twenty rounds of the chaos script, a fixed seed: each attack once, and some twice."""

import json
import subprocess
import sys

from baselines.robustness.attacks import ATTACKS


def test_twenty_rounds_end_as_undisturbed_commands_do(tmp_path):
    command = [sys.executable, "-m", "baselines.robustness.chaos", "--rounds", "20", "--seed", "20"]
    done = subprocess.run([*command, "--output", tmp_path / "found.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["attacks"]
    assert found.keys() == ATTACKS.keys()
    assert sum(row["held"] for row in found.values()) == 20
    needs_no_rights = [name for name, each in ATTACKS.items() if not each.mounts]
    assert all(found[name]["tried"] for name in needs_no_rights)
