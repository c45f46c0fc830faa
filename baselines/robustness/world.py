"""The world of a round of chaos.py: its files, the commands that write, and what each of them leaves if left alone."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from baselines.robustness import forked
from harness.cli import set_libraries
from harness.parsing import language
from harness.storage.files import read_journal, read_json, sha256, whole_lines
from harness.types import Completion

PROBLEMS = 12
LONGEST = 300.0
LIBRARIES = (
    "harness.cli.app", "harness.engines.scripted", "harness.engines.transformers", "harness.evaluation.evaluate",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "reports.page", "reports.plots",
    "rich.console", "train.export.write", "train.trackers",
)  # fmt: skip
JOURNALS = ("before/completions.jsonl", "after/completions.jsonl")
OLDER_RUN = Path(__file__).parents[2] / "tests" / "unit" / "run-0.1"
SCRIPTED = ("--engine", "scripted", "--engine-arg", "replies=replies.jsonl", "--dataset", "data.jsonl", "--quiet")
EMBEDDED = ("run", "--limit", "3", "--engine-arg", "batch_size=1", "--set", "max_completion=40", "--quiet")


@dataclass(frozen=True)
class Command:
    """A command that writes into `target`. It starts from what `given` names: a finished run, an older version's, a
    cached baseline, or nothing."""

    words: tuple[str, ...]
    target: str
    given: str = ""

    @property
    def is_run(self) -> bool:
        """Whether it makes a run folder of its own, stage by stage."""
        return self.words[0] in ("run", "eval")

    @property
    def run(self) -> str:
        """The run folder that it writes or reads."""
        return self.target if self.is_run else "r"

    def words_for(self, folder: str) -> tuple[str, ...]:
        """The words with another run folder."""
        return tuple(folder if word == self.run else word for word in self.words)


COMMANDS = {
    "run": Command(("run", *SCRIPTED, "--adapter", "adapter", "--output", "r"), "r"),
    "eval": Command(("eval", *SCRIPTED, "--output", "r"), "r"),
    "run embedded": Command((*EMBEDDED, "--output", "r"), "r"),
    "run cached": Command((*EMBEDDED, "--output", "r"), "r", "cache"),
    "score": Command(("score", "r"), "r", "run"),
    "report": Command(("report", "r"), "r", "run"),
    "compare": Command(("compare", "r", "--output", "page"), "page", "run"),
    "view": Command(("view", "."), ".", "run"),
    "export": Command(("export", "--model", "tiny", "--adapter", "adapter", "--to", "lora", "--output", "e"), "e"),
    "export logs": Command(("export", "--to", "inspect", "r"), "r", "run"),
    "baseline": Command(("gate", "r", "--write-baseline", "baseline.json"), ".", "run"),
    "score 0.1": Command(("score", "r"), "r", "older"),
    "report 0.1": Command(("report", "r"), "r", "older"),
    "compare 0.1": Command(("compare", "r", "--output", "page"), "page", "older"),
}


@dataclass
class Program:
    """A command under way, in a session of its own; `end` is its exit code, or minus the signal that killed it."""

    words: Sequence[str]
    folder: Path
    prepare: Callable[[], object] | None = None
    pid: int = field(init=False)
    end: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.outputs = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115, closed by close()
        environment = os.environ | {"HARNESS_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp")}
        sys.stdout.flush()

        def run() -> NoReturn:
            os.setsid()
            if self.prepare:
                self.prepare()
            forked.run_command([*self.words], str(self.folder), environment, [each.fileno() for each in self.outputs])

        self.pid = forked.fork(run)

    def poll(self) -> int | None:
        if self.end is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.end = os.waitstatus_to_exitcode(ended[1])
        return self.end

    def wait(self) -> int:
        """The exit code. Raises TimeoutError, after killing it, if it does not end."""
        while self.poll() is None:
            if time.monotonic() - self.started > LONGEST:
                self.signal(signal.SIGKILL, everything=True)
                raise TimeoutError(f"{' '.join(self.words)} did not end in {LONGEST:.0f} s")
            time.sleep(0.01)
        return self.end

    def signal(self, number: int, everything: bool) -> None:
        """Send a signal to the command alone or to all its processes; one that has ended gets none."""
        if everything:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        elif self.poll() is None:
            os.kill(self.pid, number)

    @property
    def has_processes(self) -> bool:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, 0)
            return True
        return False

    @property
    def said(self) -> str:
        """All that it printed on stderr."""
        number = self.outputs[1].fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode("utf-8", "replace")

    def close(self) -> None:
        for output in self.outputs:
            output.close()


def import_libraries() -> None:
    """Import what the commands need once, for all forks."""
    set_libraries()
    for name in LIBRARIES:
        importlib.import_module(name)
    language.label("What langid knows takes a second to load.")


def make(folder: Path) -> None:
    """The files that every round starts from: a dataset, scripted replies, an adapter, and finished runs."""
    for name in ("tmp", "given"):
        (folder / name).mkdir()
    rows = [{"question": f"What is {n} plus {n + 1}?", "answer": str(2 * n + 1)} for n in range(PROBLEMS)]
    replies = [
        row | {"adapter": adapted, "text": _reply(row["answer"] if adapted or number % 3 else "7")}
        for number, row in enumerate(rows)
        for adapted in (False, True)
    ]
    for name, lines in (("data.jsonl", rows), ("replies.jsonl", replies)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    code = (
        "import torch; from pathlib import Path; from transformers import AutoModelForCausalLM as Auto\n"
        "from harness.models import loading; from baselines.peers.random_checkpoint import make_adapter\n"
        "make_adapter(loading.load(Auto, 'embedded', trust=False, dtype=torch.float32), Path('adapter'), 2)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    for name in ("run", "run embedded"):
        _succeed(COMMANDS[name], folder)
        shutil.move(folder / "r", folder / "given" / name)
    shutil.move(folder / "cache", folder / "given" / "cache")
    if OLDER_RUN.is_dir():
        shutil.copytree(OLDER_RUN, folder / "given" / "older")


def _reply(answer: str) -> str:
    return f"<start_working_out>I add.<end_working_out><SOLUTION>{answer}</SOLUTION>"


def _succeed(command: Command, folder: Path) -> float:
    """Run a command to its end, and return its seconds."""
    program = Program(command.words, folder)
    if program.wait():
        sys.exit(f"{' '.join(command.words)} ended with {program.end}: {program.said}")
    program.close()
    return time.monotonic() - program.started


def copy(template: Path, folder: Path, command: Command) -> None:
    """The template as a round of a command starts from it."""
    shutil.copytree(template, folder, ignore=lambda place, _: ["given"] if Path(place) == template else [])
    given = template / "given"
    if command.given == "cache":
        shutil.copytree(given / "cache", folder / "cache")
    elif command.given:
        shutil.copytree(given / command.given, folder / "r")


def undisturbed(template: Path, folder: Path, command: Command) -> tuple[float, dict[str, object]]:
    """The seconds of a command that is left alone, and what it leaves."""
    copy(template, folder, command)
    seconds = _succeed(command, folder)
    return seconds, left_by(command, folder)


def left_by(command: Command, folder: Path, run: str = "r") -> dict[str, object]:
    """What a command has left, as far as it depends on neither time nor place."""
    target = folder / (run if command.target == "r" else command.target)
    if command.words[0] == "export" and command.target == "e":
        return {file.name: sha256(file) for file in sorted(target.glob("*.safetensors"))}
    if command.words[0] == "gate":
        return {"baseline": read_json(folder / "baseline.json")["replies"]}
    if command.words[0] == "export":
        return {"logs": sorted((file.name, file.stat().st_size > 0) for file in (target / "export/inspect").iterdir())}
    if command.words[0] == "compare":
        figures = read_json(target / "comparison.json")["metrics"]
        return {"page": (target / "index.html").is_file(), "metrics": [*figures.values()]}
    if command.words[0] == "view":
        return {"page": (target / "index.html").is_file()}
    return results_of(target)


def results_of(run: Path) -> dict[str, object]:
    """Completions, scores, metrics and comparison of a run folder; lines in any order."""
    found: dict[str, object] = {"report": (run / "report" / "index.html").is_file()}
    for side in ("before", "after"):
        names = Completion.__dataclass_fields__
        rows = [{key: row[key] for key in row.keys() & names} for row in read_journal(run / side / "completions.jsonl")]
        found[f"{side}/completions"] = sorted(json.dumps(row, sort_keys=True) for row in rows)
        found[f"{side}/scores"] = sorted(whole_lines(run / side / "scores.jsonl").splitlines())
        for file in (run / side / "metrics.json", run / "comparison.json"):
            if file.is_file():
                found[str(file.relative_to(run))] = read_json(file)
    return found
