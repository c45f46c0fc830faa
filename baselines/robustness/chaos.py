"""Commands that are disturbed in every way that disks, people and machines know, and have to end as undisturbed ones.

    python -m baselines.robustness.chaos [--rounds 200] [--seed 3407] [--output chaos.json]
    python -m baselines.robustness.chaos --seed 3407 --first 17 --rounds 1        one of these again

Each round takes the next attack of attacks.py, and draws from the seed a command, the moment and how. Whatever happens,
a command ends in success, in one line and exit code 2, or by the signal that it was sent. The same command then
completes, or names what was damaged; nothing finished is done twice; completions, scores, metrics and comparison are
those of a command that was left alone; and no process, lock or temporary file is left. The engine is `scripted`, in
some rounds the embedded model. Commands run in forks of this process, which has the libraries imported.
OUTPUT, written after each round: for each attack its promise, how many rounds tried it, in how many it held, and how
the broken ones broke.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from baselines.robustness import world
from baselines.robustness.attacks import ATTACKS, Attack
from baselines.robustness.rounds import Broken, Round
from harness.errors import UserError
from harness.storage.files import write_json


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3407)
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--machine", default="not said", help="its kind, for the record")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.rounds)
    # Not a TemporaryDirectory, which every fork would remove at its end.
    folder, found = Path(tempfile.mkdtemp()), {}
    try:
        for found in disturbed(folder, given.seed, numbers):
            if given.output:
                head = {"date": time.strftime("%Y-%m-%d"), "machine": given.machine, "seed": given.seed}
                write_json(given.output, head | {"attacks": found})
    except KeyboardInterrupt:
        print("stopped; what was done is kept", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, row in found.items():
        print(f"{name:<16}{row['tried']:>4} tried{row['held']:>4} held  {row['promise']}")
        for broken in row["broken"]:
            print(f"  --seed {given.seed} --first {broken['round']} --rounds 1: {broken['command']}: {broken['how']}")
    return any(row["broken"] for row in found.values())


def disturbed(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[dict[str, dict]]:
    """Do the rounds of these numbers below `folder`.

    Yields after each of them every attack's promise, how often it was tried and held, and the broken rounds.
    """
    template = folder / "template"
    template.mkdir()
    world.import_libraries()
    world.make(template)
    found = {name: {"promise": each.promise, "tried": 0, "held": 0, "broken": []} for name, each in ATTACKS.items()}
    possible = {name: each for name, each in ATTACKS.items() if each.on and (not each.mounts or _may_mount(folder))}
    alone: dict[str, tuple[float, dict[str, object]]] = {}
    for number in numbers:
        name = [*possible][number % len(possible)]
        chance = random.Random(f"{seed}-{number}")
        command = chance.choice(possible[name].on)
        print(f"round {number}: {name}, {command}", file=sys.stderr, flush=True)
        if command not in alone:
            alone[command] = world.undisturbed(template, folder / f"alone {command}", world.COMMANDS[command])
        how = _how_it_broke(template, folder / "round", possible[name], command, chance, alone[command])
        found[name]["tried"] += 1
        found[name]["held"] += not how
        if how:
            found[name]["broken"].append({"round": number, "command": command, "how": how})
            print(f"  {how}", file=sys.stderr, flush=True)
        yield found


def _how_it_broke(
    template: Path,
    folder: Path,
    attack: Attack,
    command: str,
    chance: random.Random,
    alone: tuple[float, dict[str, object]],
) -> str:
    """What did not hold in a round; empty if all did."""
    world.copy(template, folder, world.COMMANDS[command])
    round = Round(folder, world.COMMANDS[command], chance, *alone)
    try:
        attack.do(round)
    except (Broken, UserError, OSError, subprocess.SubprocessError) as broken:
        return f"{broken}" if isinstance(broken, Broken) else f"{type(broken).__name__}: {broken}"
    finally:
        round.close()
    return ""


def _may_mount(folder: Path) -> bool:
    """Whether this user may mount a small disk."""
    place = folder / "mount"
    place.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", place], check=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
