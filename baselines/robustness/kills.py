"""A run that is killed again and again, compared with one that is not.

    python -m baselines.robustness.kills OUT.json [--kills 20] [--seed 3407] [ARGUMENTS OF harness run]

SIGKILL at moments drawn from the seed: while the base answers, while its replies are graded, in training, while the
trained model answers, in the report; of the command alone, whose stage has to notice, or of all its processes. The same
command is started again each time; replies that were finished in the last quarter second before a kill may be missing
from their journal, and are generated again. OUT.json: how many journals lost a line that stood there, how many
journalled replies belong to a batch that a kill cut short, which is generated again as a whole, and the files that are
not as in the run that was left alone.
"""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.storage.files import read_journal, read_json, sha256, whole_lines, write_json
from harness.storage.run_folder import TRAINING_FILES

JOURNALS = ("before/completions.jsonl", "after/completions.jsonl")
COUNTED = {"before": JOURNALS[0], "grading": JOURNALS[0], "train": "train/log.jsonl", "after": JOURNALS[1]}
STAGES = (*COUNTED, "report")
# A kill comes at most so many seconds after what it waits for.
LATER = 0.5
TIMES = {"step_time", "epoch", "runtime", "samples_per_second", "steps_per_second"}


@dataclass(frozen=True)
class Moment:
    """A kill: `later` seconds after a stage has so many lines; of the command alone or of `all` its processes."""

    stage: str
    lines: int
    later: float
    all: bool

    def is_reached(self, run: Path, started: float) -> bool:
        """Whether a run whose command was `started`, in seconds of the epoch, has come so far."""
        if self.stage in COUNTED and whole_lines(run / COUNTED[self.stage]).count(b"\n") < self.lines:
            return False
        if self.stage not in ("grading", "report"):
            return True
        record, stage = run / "run.json", "before" if self.stage == "grading" else self.stage
        is_of_this_start = record.is_file() and record.stat().st_mtime > started
        return is_of_this_start and read_json(record)["stages"].get(stage, {}).get("state") == "running"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3407)
    given, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        found = killed_and_alone(Path(folder), arguments, given.kills, given.seed)
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    write_json(given.out, {"date": time.strftime("%Y-%m-%d"), "machine": machine, "arguments": arguments, **found})
    print(json.dumps(found, indent=2))


def killed_and_alone(folder: Path, arguments: Sequence[str], kills: int, seed: int) -> dict:
    """Make the two runs `alone` and `killed` below `folder`, and return what the kills changed."""
    command = [f"{sys.prefix}/bin/harness", "run", "--before-after", "--quiet", *arguments, "--output"]
    begun = time.monotonic()
    with _started([*command, "alone"], folder) as program:
        _end(program)
    alone, done = folder / "alone", time.monotonic()
    moments = _moments(alone, kills, random.Random(seed))
    killed, lost, again = _killed([*command, "killed"], folder, moments)
    run = folder / "killed"
    return {
        "kills": dict(Counter(moment.stage for moment in killed)),
        "of the command alone": sum(not moment.all for moment in killed),
        "journals that lost a line": lost,
        "journalled replies drawn again": again,
        "files that differ": [name for name, content in _contents(run).items() if content != _contents(alone)[name]],
        "seconds": {"alone": round(done - begun, 1), "killed": round(time.monotonic() - done, 1)},
    }


def _moments(alone: Path, kills: int, chance: random.Random) -> list[Moment]:
    """The same number of moments of each stage, in the order of a run."""
    drawn = []
    for number in range(kills):
        stage = STAGES[number % len(STAGES)]
        whole = whole_lines(alone / COUNTED[stage]).count(b"\n") if stage in COUNTED else 0
        lines = whole if stage == "grading" else chance.randint(1, max(1, whole - 1))
        drawn.append(Moment(stage, lines, chance.uniform(0, LATER), chance.random() < 0.5))
    return sorted(drawn, key=lambda moment: (STAGES.index(moment.stage), moment.lines))


def _killed(command: Sequence[str], folder: Path, moments: Sequence[Moment]) -> tuple[list[Moment], int, int]:
    """The kills that were done, how many journals lost a line that stood there at one, and how many such lines are of a
    batch that was not whole."""
    run, kept, lost, again, done = folder / "killed", dict.fromkeys(JOURNALS, b""), 0, 0, []
    for moment in [*moments, None]:
        started = time.time()
        with _started(command, folder) as program:
            while moment and not moment.is_reached(run, started) and program.poll() is None:
                time.sleep(0.01)
            if moment and program.poll() is None:
                time.sleep(moment.later)
                (os.killpg if moment.all else os.kill)(program.pid, signal.SIGKILL)
                done.append(moment)
                program.wait()
            else:
                _end(program)
        for name in JOURNALS:
            lines = whole_lines(run / name)
            lost += not lines.startswith(kept[name])
            kept[name] = lines
            again += _of_a_batch_cut_short(run, name, lines)
    return done, lost, again


def _started(command: Sequence[str], folder: Path) -> subprocess.Popen:
    """A command in a group of its own, so that all its processes can be killed together."""
    # Neither run may use the other's baseline.
    environment = os.environ | {"HARNESS_CACHE": str(folder / f"cache-{command[-1]}")}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _end(program: subprocess.Popen) -> None:
    said = program.communicate()[1]
    if program.returncode:
        sys.exit(f"{' '.join(program.args)} ended with {program.returncode}: {said}")


def _of_a_batch_cut_short(run: Path, journal: str, lines: bytes) -> int:
    """How many replies of a journal the next start generates again, besides those that are missing."""
    if not lines:
        return 0
    record = read_json(run / "run.json")
    provenance, drawn = record["provenance"][journal.partition("/")[0]], lines.count(b"\n")
    whole = drawn == provenance["problems"] * record["configuration"]["samples"]
    return 0 if whole else drawn % provenance["batch_size"]


def _contents(run: Path) -> dict[str, object]:
    """The result of a run, killed or not; a journal's lines in any order, a log without times."""
    replies = {name: sorted(whole_lines(run / name).splitlines()) for name in JOURNALS}
    figures = {name: read_json(run / name) for name in ("before/metrics.json", "after/metrics.json", "comparison.json")}
    training = {
        name: [{key: row[key] for key in row.keys() - TIMES} for row in read_journal(run / "train" / name)]
        for name in TRAINING_FILES
    }
    weights = sha256(run / "train" / "adapter" / "adapter_model.safetensors")
    return replies | figures | training | {"adapter": weights}


if __name__ == "__main__":
    main()
