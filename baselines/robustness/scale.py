"""Seconds and memory at 50,000 replies, and memory on the way to 20,000.

    python -m baselines.robustness.scale DATA OUT.json

DATA is a folder with the real gsm8k/test.jsonl. Its questions, repeated, get replies of some 200 tokens: worked
solutions in the format, some of them wrong, without the format, or cut off. OUT.json:

- `commands`: score, report and compare of run folders with 25,000 replies on each of two sides: 20 to each of 1,250
  problems, and 256 to each of 98.
- `evaluations`: `harness eval` of 20,000 replies that come from a file, or from a server with OpenAI's protocol: its
  memory with 2,000 replies in the journal, the most on the way to all of them, and its peak, when they are scored.

Memory is that of a command with all its processes, sampled. CPU seconds stand beside those of the clock, which other
work on the machine stretches.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from harness.configure import configure
from harness.data.datasets import settle_split
from harness.parsing.formats import prompt_sha
from harness.storage.files import read_journal, write_json, write_lines
from harness.storage.run_folder import Run
from harness.types import Completion

# Problems, replies per problem.
SHAPES = ((1250, 20), (98, 256))
EVALUATED, SETTLED = (1000, 20), 2000
LAYOUT = "<start_working_out>\n{}\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
SAMPLED_EACH = 0.05


def main() -> None:
    rows, out = read_journal(Path(sys.argv[1]) / "gsm8k" / "test.jsonl"), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        os.environ["HARNESS_CACHE"] = f"{place}/cache"
        commands = [figures for shape in SHAPES for figures in of_commands(Path(place), rows, *shape)]
        evaluations = [of_evaluation(Path(place), rows, engine) for engine in REPLIES_FROM]
    machine = {"machine": "two x86-64 cores, no GPU", "date": time.strftime("%Y-%m-%d")}
    write_json(out, machine | {"commands": commands, "evaluations": evaluations})


def of_commands(folder: Path, rows: Sequence[dict], problems: int, samples: int) -> Iterator[dict]:
    """What each command takes, the figures of one after the other."""
    one, other = (made_up(folder / f"{samples}-{seed}", rows, problems, samples, seed) for seed in range(2))
    for words in (["score", one], ["score", other], ["report", one], ["compare", one, other, "--output", folder / "p"]):
        replies = 2 * problems * samples * (2 if words[0] == "compare" else 1)
        figures = {"command": words[0], "replies": replies, "per_problem": samples} | measured(words)
        print(figures, flush=True)
        yield figures


def of_evaluation(folder: Path, rows: Sequence[dict], engine: str) -> dict:
    """The memory of an evaluation on its way."""
    problems, samples = EVALUATED
    write_lines(folder / "problems.jsonl", rows[:problems])
    command = ["eval", "--engine", engine, "--dataset", folder / "problems.jsonl", "--output", folder / engine]
    with REPLIES_FROM[engine](folder, rows) as arguments:
        figures = on_the_way([*command, *arguments, "--set", f"samples={samples}"], folder / engine)
    print(figures, flush=True)
    return {"engine": engine, "replies": problems * samples} | figures


def worked(rows: Sequence[dict], number: int, draw: random.Random) -> tuple[str, str]:
    """A reply of some 200 tokens to a question, and how it ended."""
    others = "\n".join(each["answer"].rpartition("\n####")[0] for each in draw.choices(rows, k=2))
    steps, _, truth = rows[number % len(rows)]["answer"].partition("\n#### ")
    kind = draw.random()
    if kind < 0.1:
        return f"{others}\n{steps}", "length"
    if kind < 0.3:
        return f"{others}\n{steps}\nThe answer is {truth}.", "stop"
    return LAYOUT.format(f"{others}\n{steps}", truth if kind < 0.6 else draw.randint(1, 999)), "stop"


def made_up(folder: Path, rows: Sequence[dict], problems: int, samples: int, seed: int) -> Path:
    """A run folder of two sides that are not scored yet, with so many replies per problem."""
    run = Run.create(folder, settle_split(configure("gemma3-4b", None, {"samples": samples}, []), True), "harness run")
    for place, side in enumerate(("before", "after")):
        draw = random.Random(2 * seed + place)
        replies = (_reply(rows, number, index, draw) for number in range(problems) for index in range(samples))
        with run.record.stage(side) as provenance:
            provenance |= {"equality": "number", "problems": problems}
            write_lines(folder / side / "completions.jsonl", map(vars, replies))
    return folder


def _reply(rows: Sequence[dict], number: int, index: int, draw: random.Random) -> Completion:
    question, _, answer = rows[number]["question"], *rows[number]["answer"].rpartition("#### ")[1:]
    text, end = worked(rows, number, draw)
    return Completion(
        f"gsm8k-{number}", index, question, answer, text, len(text) // 4, end, prompt_sha(question), index,
        position=number * 1000 + index,
    )  # fmt: skip


def measured(words: Sequence[str | Path], seen: Callable[[int], None] = lambda memory: None) -> dict:
    """Seconds, CPU seconds and peak memory of a command; `seen` gets the bytes of each sample."""
    started, peak, before = time.monotonic(), 0, os.times()
    command = subprocess.Popen([sys.executable, "-m", "harness", *map(str, words)], stdout=subprocess.DEVNULL)
    while command.poll() is None:
        memory = _memory_of(command.pid)
        seen(memory)
        peak = max(peak, memory)
        time.sleep(SAMPLED_EACH)
    if command.returncode:
        sys.exit(f"{words} ended with {command.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(cpu, 1), "peak_gib": _gib(peak)}


def _memory_of(command: int) -> int:
    """The resident bytes of a process and all below it."""
    total = 0
    try:
        for each in (process := psutil.Process(command), *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:  # one has ended meanwhile
        pass
    return total


def _gib(size: int) -> float:
    return round(size / 2**30, 3)


def on_the_way(words: Sequence[str | Path], run: Path) -> dict:
    """What `measured` gives of an evaluation, with its memory at SETTLED replies and the most from there on to all."""
    journal, memories = run / "before" / "completions.jsonl", {}

    def seen(memory: int) -> None:
        replies = journal.read_bytes().count(b"\n") if journal.exists() else 0
        memories[replies] = max(memory, memories.get(replies, 0))

    figures = measured(words, seen)
    last = max(memories)
    first, *others = (memory for replies, memory in memories.items() if SETTLED <= replies < last)
    return figures | {"at_2000_gib": _gib(first), "most_on_the_way_gib": _gib(max(first, *others))}


@contextmanager
def from_a_file(folder: Path, rows: Sequence[dict]) -> Iterator[list[str]]:
    draw = random.Random(0)
    texts = [worked(rows, number, draw)[0] for number in range(1000)]
    write_lines(folder / "replies.jsonl", ({"text": text} for text in texts))
    yield ["--engine-arg", f"replies={folder / 'replies.jsonl'}"]


@contextmanager
def from_a_server(folder: Path, rows: Sequence[dict]) -> Iterator[list[str]]:
    draw = random.Random(0)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.say({"object": "list", "data": [{"id": "base", "object": "model", "owned_by": "test"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text, end = worked(rows, draw.randrange(len(rows)), draw)
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": end}
            self.say(
                {"object": "chat.completion", "choices": [choice], "usage": {"completion_tokens": asked["max_tokens"]}}
            )

        def say(self, body: dict) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Not a line for each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ["--engine-arg", f"base_url=http://127.0.0.1:{server.server_port}/v1"]
        server.shutdown()


REPLIES_FROM = {"scripted": from_a_file, "openai": from_a_server}


if __name__ == "__main__":
    main()
