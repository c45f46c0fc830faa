"""Seconds per step and GPU memory of the GRPO stage, our recipe compared with other ways to run the same one.

    python -m baselines.peers.training_speed CHECKPOINT DATA OUT.json --case NAME
        [--gib 24] [--steps 10] [--warm-up 3] [--seconds 580] [--set k=v] [--env NAME=VALUE]

CHECKPOINT: a folder of gemma3-4b's shape (python -m baselines.peers.random_checkpoint makes one). DATA: a local copy of
GSM8K with a train split. One case a call, as each takes the whole GPU; OUT.json keeps them all, by name:

    recipe     the recipe gemma3-4b: Unsloth, rollouts by vLLM
    tutorial   the same with the tutorial's rollouts, model.generate
    trl        the same recipe on plain TRL and PEFT, rollouts by vLLM
    trl-generate  the same with model.generate

Random weights hardly ever end a reply, so all cases draw as many completions of the same length; any_reward.py tells
them apart. `--gib` limits what torch, vLLM's share included, may take of the GPU; a case that takes more than
`--seconds` is stopped, and the steps it has done count. Memory is the driver's own figure, polled; a step's seconds are
the trainer's, the median of those behind the `--warm-up` first, which compile.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness.configure import configure
from harness.data.datasets import settle_split
from harness.evaluation.provenance import versions
from harness.storage.files import read_journal, read_json, write_json
from harness.storage.run_folder import Run

CASES = {
    "recipe": ("trainer=unsloth", "rollouts=vllm"),
    "tutorial": ("trainer=unsloth", "rollouts=generate"),
    "trl": ("trainer=trl", "rollouts=vllm"),
    "trl-generate": ("trainer=trl", "rollouts=generate"),
}
# The stage as harness.cli.stage runs it, with a limit on what this process may take of the GPU.
LIMITED = """
import sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv.pop(1)))
from harness.cli.stage import leave, main
leave(main(sys.argv[1:]))
"""


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", choices=CASES, default="recipe")
    parser.add_argument("--gib", type=float)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    arguments = parser.parse_args()
    reward = Path(__file__).with_name("any_reward.py")
    settings = [f"steps={arguments.steps}", "save_steps=1000", "eval_every=0", f"rewards={reward}"]
    settings += [*CASES[arguments.case], *arguments.set]
    config = configure(str(arguments.checkpoint), "gemma3-4b", {"data": str(arguments.data.resolve())}, settings)
    name = (
        arguments.case
        + (f"-{arguments.gib:g}GiB" if arguments.gib else "")
        + "".join(f" {each}" for each in [*arguments.set, *arguments.env])
    )
    folder = arguments.out.parent / "runs" / name.replace(" ", "-")
    run = Run.create(folder, settle_split(config, trains=True), " ".join(sys.argv), fresh=True)
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    command = [sys.executable, "-m", "harness.cli.stage"]
    if arguments.gib:
        command = [sys.executable, "-c", LIMITED, str(arguments.gib / total)]
    started = time.monotonic()
    with Memory(torch.cuda.get_device_properties(0).uuid) as memory:
        code = _exit_code([*command, "train", str(run.path)], arguments.seconds, arguments.env)
    log = read_journal(run.path / "train" / "log.jsonl")
    seconds = [row["step_time"] for row in log]
    if len(seconds) <= arguments.warm_up:
        sys.exit(f"{name}: ended with {code} after {len(seconds)} steps: see {run.path / 'train' / 'trainer.log'}")
    effective = read_json(run.path / "train" / "effective_config.json") if code == 0 else {}
    result = {
        "device": torch.cuda.get_device_name(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "architecture": read_json(arguments.checkpoint / "config.json")["architectures"][0],
        "exit_code": code,
        **{key: effective.get(key) for key in ("trainer", "replaced", "parameters", "trainable_parameters")},
        "completions_a_step": config.prompts_per_step * config.generations,
        "mean_completion_tokens": statistics.mean(row["completions/mean_length"] for row in log),
        "seconds_a_step": statistics.median(seconds[arguments.warm_up :]),
        "first_steps": seconds[: arguments.warm_up],
        "all_steps": seconds,
        "whole_seconds": time.monotonic() - started,
        "gib_limit": arguments.gib,
        "gib_peak_driver": memory.peak,
    }
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    write_json(arguments.out, known | {name: result})
    took = f"{result['seconds_a_step']:.2f} s a step, {memory.peak:.1f} GiB, {result['whole_seconds']:.0f} s in all"
    print(f"{name}: {took}, {result['mean_completion_tokens']:.0f} tokens per completion")


def _exit_code(command: list[str], seconds: float | None, variables: list[str]) -> int | None:
    """Run the command; returns its exit code, None if it was stopped after `seconds`."""
    environment = os.environ | dict(each.split("=", 1) for each in variables)
    try:
        return subprocess.run(command, check=False, timeout=seconds, env=environment).returncode
    except subprocess.TimeoutExpired:
        return None


class Memory:
    """The most memory in use of the GPU of this UUID, in GiB, as the driver reports it, over a `with` block."""

    def __init__(self, uuid: object):
        self._gpu = f"GPU-{uuid}"

    def __enter__(self) -> "Memory":
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", f"--id={self._gpu}"]
        while not self._stop.wait(0.2):
            used = subprocess.run(query, capture_output=True, text=True, check=True).stdout
            self.peak = max(self.peak, float(used.split()[0]) / 1024)


if __name__ == "__main__":
    main()
