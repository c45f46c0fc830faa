"""Seconds per step and GPU memory of a training stage, our recipe compared with other ways to run the same one.

    python -m baselines.peers.training_speed CHECKPOINT DATA OUT.json --recipe NAME --stage sft|grpo --case NAME
        [--gib 24] [--steps 10] [--warm-up 3] [--seconds 580] [--alone] [--set k=v] [--env NAME=VALUE]

CHECKPOINT: a checkpoint for that recipe (python -m baselines.peers.random_checkpoint makes one of gemma3-4b's shape).
DATA: a local copy of GSM8K with a train split. One case a call, as each takes the whole GPU; OUT.json keeps them all,
by name:

    recipe     the recipe with Unsloth, rollouts by vLLM
    trl        the same recipe on plain TRL and PEFT, rollouts by vLLM
    trl-defaults  the same with gradient checkpointing, as TRL does unless told otherwise
    trl-compiled  SFT by plain TRL, each of the model's layers compiled
    tutorial   Unsloth with the tutorial's rollouts, model.generate
    trl-generate  TRL with model.generate

Random weights hardly ever end a reply, so all cases of GRPO draw as many completions of the same length; any_reward.py
tells them apart. `--gib` limits what torch, vLLM's share included, may take of the GPU; a case that takes more than
`--seconds` is stopped, and the steps it has done count. Memory is the driver's own figure, polled; a step's seconds are
the trainer's, the median of those behind the `--warm-up` first, which compile; the largest of them stands beside it.
`--alone` says that nothing else uses the GPU: else seconds and memory are no more than a comparison of cases that
shared it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from baselines.peers import cases
from harness.config import Configuration
from harness.configure import configure
from harness.data.datasets import settle_split
from harness.evaluation.provenance import versions
from harness.storage.files import read_journal, read_json
from harness.storage.run_folder import Run

CASES = {
    "recipe": ("trainer=unsloth", "rollouts=vllm"),
    "trl": ("trainer=trl", "rollouts=vllm"),
    "trl-compiled": ("trainer=trl",),
    "trl-defaults": ("trainer=trl", "rollouts=vllm", "gradient_checkpointing=true"),
    "tutorial": ("trainer=unsloth", "rollouts=generate"),
    "trl-generate": ("trainer=trl", "rollouts=generate"),
}
STAGES = {"sft": "warm-up", "grpo": "train"}
# GSM8K's training problems, an epoch.
SOLUTIONS = 7473
# The stage as harness.cli.stage runs it; with a limit on what this process may take of the GPU; compiled.
STAGE = """
import sys
from harness.cli.stage import main
main(sys.argv[1:])
"""
LIMITED = """
import sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv.pop(1)))
"""
COMPILED = """
import trl
class Compiled(trl.SFTTrainer):
    def __init__(self, **values):
        super().__init__(**values)
        for layer in self.model.get_base_model().model.layers:
            layer.compile(dynamic=True)
trl.SFTTrainer = Compiled
"""


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="gemma3-4b")
    parser.add_argument("--stage", choices=STAGES, default="grpo")
    parser.add_argument("--case", choices=CASES, default="recipe")
    parser.add_argument("--gib", type=float)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    arguments = parser.parse_args()
    config = configuration(arguments)
    name = (
        f"{arguments.recipe} {arguments.stage} {arguments.case}"
        + (f"-{arguments.gib:g}GiB" if arguments.gib else "")
        + "".join(f" {each}" for each in [*arguments.set, *arguments.env])
    )
    folder = arguments.out.parent / "runs" / name.replace(" ", "-")
    run = Run.create(folder, settle_split(config, trains=True), " ".join(sys.argv), fresh=True)
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    limit = [str(arguments.gib / total)] if arguments.gib else []
    program = (LIMITED if limit else "") + (COMPILED if arguments.case == "trl-compiled" else "") + STAGE
    command = [sys.executable, "-c", program, *limit]
    started = time.monotonic()
    with Memory(torch.cuda.get_device_properties(0).uuid) as memory:
        code = _exit_code([*command, STAGES[arguments.stage], str(run.path)], arguments.seconds, arguments.env)
    files = run.sft_folder if arguments.stage == "sft" else run.path / "train"
    log = read_journal(files / "log.jsonl")
    seconds = [row["step_time"] for row in log]
    if len(seconds) <= arguments.warm_up:
        sys.exit(f"{name}: ended with {code} after {len(seconds)} steps: see {files / 'trainer.log'}")
    effective = read_json(files / "effective_config.json") if code == 0 else {}
    counted = seconds[arguments.warm_up :]
    result = {
        "device": torch.cuda.get_device_name(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "architecture": read_json(arguments.checkpoint / "config.json")["architectures"][0],
        "exit_code": code,
        **{key: effective.get(key) for key in ("trainer", "replaced", "parameters", "trainable_parameters")},
        **size(config, log, arguments.stage),
        "seconds_a_step": statistics.median(counted),
        "longest_step": max(counted),
        "first_steps": seconds[: arguments.warm_up],
        "all_steps": seconds,
        "whole_seconds": time.monotonic() - started,
        "gib_limit": arguments.gib,
        "alone": arguments.alone,
        "gib_peak_driver": memory.peak,
    }
    cases.keep(arguments.out, name, result)
    print(
        f"{name}: {result['seconds_a_step']:.3f} s a step, {result['longest_step']:.2f} the longest, "
        f"{memory.peak:.1f} GiB, {result['whole_seconds']:.0f} s in all, first steps "
        + ", ".join(f"{each:.1f}" for each in result["first_steps"])
    )


def configuration(arguments: argparse.Namespace) -> Configuration:
    settings = ["save_steps=1000", "eval_every=0", *CASES[arguments.case], *arguments.set]
    settings += [f"rewards={Path(__file__).with_name('any_reward.py')}"]
    options = {"data": str(arguments.data.resolve()), "dataset": "gsm8k"}
    if arguments.stage == "sft":
        options["sft_data"] = options["data"]
        batch = configure(str(arguments.checkpoint), arguments.recipe, options, settings).sft_batch
        settings.append(f"sft_epochs={arguments.steps * batch / SOLUTIONS}")
    else:
        settings += [f"steps={arguments.steps}", "sft_dataset=none"]
    return configure(str(arguments.checkpoint), arguments.recipe, options, settings)


def size(config: Configuration, log: list[dict], stage: str) -> dict[str, float]:
    """How much work a step is."""
    if stage == "sft":
        return {"solutions_a_step": config.sft_batch * config.sft_accumulation}
    return {
        "completions_a_step": config.prompts_per_step * config.generations,
        "mean_completion_tokens": statistics.mean(row["completions/mean_length"] for row in log),
    }


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
