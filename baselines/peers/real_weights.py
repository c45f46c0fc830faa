"""The whole job on real weights: before, SFT, after SFT, GRPO, after, report, each case a `harness run` of its own.

    python -m baselines.peers.real_weights OUT.json --case NAME --model MODEL --data GSM8K_FOLDER --runs FOLDER
        [--seconds 900] [--tries 3] [--seeds-beside] [any further option of `harness run`]

MODEL: a checkpoint's folder, a GGUF file or a hub id. OUT.json keeps all cases, by name. A case that is stopped or
fails is started again, up to `--tries` times within `--seconds`, and continues where it was; several cases may share a
GPU, where one can disturb another's start. Their replies stay what they are then, their seconds do not: `alone` says
which they are. With `--training-seeds S` behind it a case has what S trainings say of its recipe; `--seeds-beside` then
runs these beside one another, once the baseline is there, instead of in turn. What a case is made of stands in CASES
and in the recipes that it names.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from baselines.peers import cases
from harness import stages
from harness.evaluation import pipeline, training_seeds
from harness.stages import BASE, SIDES
from harness.storage.files import read_journal, read_json
from harness.storage.run_folder import Run

HERE = Path(__file__).parent
# The real ones: SFT over GSM8K's train split, 30 steps of GRPO, 1,319 test problems. The random one shows that the
# hub's multimodal wrapper runs in the same way.
SHORT = ("--set", "sft_batch=32", "--set", "steps=30", "--set", "prompts_per_step=8", "--set", "eval_every=15")
CASES = {
    "smollm2-135m": ("--recipe", "smollm2-135m", "--trainer", "unsloth", *SHORT),
    "smollm2-135m-trl": ("--recipe", "smollm2-135m", "--trainer", "trl", *SHORT),
    "gemma3-270m-base": ("--recipe", "gemma3-270m-base.toml", "--trainer", "trl"),
    "gemma3-4b-random": ("--recipe", "gemma3-4b", "--trainer", "unsloth", "--set", "steps=4", "--set", "eval_every=0",
                         "--limit", "200"),
}  # fmt: skip
METRICS = ("format_strict", "accuracy_strict", "accuracy_flexible", "truncated", "tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--seeds-beside", action="store_true")
    given, options = parser.parse_known_args()
    folder = given.runs / given.case
    command = [
        sys.executable, "-m", "harness", "run", "--model", given.model, "--before-after", "--dataset", "gsm8k",
        "--data", given.data, "--output", str(folder), *CASES[given.case], *options,
    ]  # fmt: skip
    command = [str(HERE / word) if word.endswith(".toml") else word for word in command]
    started = time.monotonic()
    log = given.runs / f"{given.case}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if given.seeds_beside:
        train_seeds_beside(command, folder, log, started + given.seconds)
    ends = _ends_of_tries(command, started + given.seconds, given.tries, log)
    result = {"date": time.strftime("%Y-%m-%d"), "gpu": _gpu(), "options": [*CASES[given.case], *options],
              "alone": given.alone, "ends_of_tries": ends, "whole_seconds": time.monotonic() - started}  # fmt: skip
    result |= figures(Run.open(folder))
    cases.keep(given.out, given.case, result)
    print(table(given.case, result))


def figures(run: Run) -> dict[str, Any]:
    """The content of a run folder so far: seconds of each stage, metrics of each side, trainings, verdicts."""
    record = run.record.read()
    found: dict[str, Any] = {
        "stages": record["stages"],
        "configuration": {key: _name(value) for key, value in record["configuration"].items()},
        "provenance": {name: _short(part) for name, part in record["provenance"].items()},
        "sides": {
            side: {name: vars(metric) for name, metric in run.metrics(side).items() if name in METRICS}
            for side in SIDES
            if run.record.is_done(side)
        },
    }
    for name, log in {"sft": run.sft_folder / "log.jsonl", "grpo": run.path / "train" / "log.jsonl"}.items():
        if log.is_file():
            found[name] = training_figures(read_journal(log))
    if (run.path / "comparison.json").is_file():
        comparison = run.comparison()
        found["comparison"] = {name: comparison["metrics"][name] for name in METRICS if name in comparison["metrics"]}
        found["warnings"] = comparison["warnings"]
    if over_seeds := run.seeds():
        found["seeds"] = {name: vars(over_seeds[name]) for name in METRICS if name in over_seeds}
        kept = ("stages", "sides", "sft", "grpo")
        for seed, one in training_seeds.members(run).items():
            found[f"seed {seed}"] = {key: value for key, value in figures(one).items() if key in kept}
    if (run.path / "train" / "effective_config.json").is_file():
        effective = read_json(run.path / "train" / "effective_config.json")
        found["trainer"] = {key: effective.get(key) for key in ("trainer", "replaced", "parameters", "rollouts")}
    return found


def training_figures(log: list[dict]) -> dict[str, Any]:
    """Summary of a training's log: steps, seconds per step, and the means of its first and last third."""
    seconds = [row["step_time"] for row in log if row.get("step_time") is not None]
    third = max(len(log) // 3, 1)
    names = ("reward", "completions/clipped_ratio", "completions/mean_length", "loss", "kl")
    ends = {
        name: [_mean(log[:third], name), _mean(log[-third:], name)]
        for name in names
        if any(row.get(name) is not None for row in log)
    }
    return {
        "steps": len(log),
        "median_step_seconds": statistics.median(seconds) if seconds else None,
        "first_steps_seconds": seconds[:3],
        "first_and_last_third": ends,
    }


def _mean(rows: list[dict], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return statistics.mean(values) if values else None


def _name(value: Any) -> Any:
    """The last part of a path: the folders mean nothing on another machine."""
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _short(provenance: dict) -> dict:
    """A stage's provenance without what is long and stored elsewhere."""
    return {key: value for key, value in provenance.items() if key not in ("checkpoint", "engine_args")}


def train_seeds_beside(command: list[str], folder: Path, log: Path, end: float) -> None:
    """Generate the baseline, then run each seed's training and evaluation in a process of its own, until `end`.

    What fails or is missing, the command does afterwards. Each process has its own cache of vLLM's compiled code, which
    is not made for two writers.
    """
    one_seed = "import sys; from pathlib import Path; from baselines.peers.real_weights import run_seed; "
    one_seed += "sys.exit(run_seed(Path(sys.argv[1]), int(sys.argv[2])))"
    with log.open("a") as output:
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
            while process.poll() is None and not _has_baseline(folder) and time.monotonic() < end:
                time.sleep(0.5)
            process.terminate()
        if not _has_baseline(folder):
            return
        seeds, compiled = training_seeds.seeds(Run.open(folder).config), os.environ.get("VLLM_CACHE_ROOT", "")
        processes = []
        for seed in seeds:
            environment = os.environ | ({"VLLM_CACHE_ROOT": f"{compiled}-{seed}"} if compiled else {})
            words = [sys.executable, "-c", one_seed, str(folder), str(seed)]
            processes.append(subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=environment))
        for process in processes:
            _wait_until(process, end)


def run_seed(folder: Path, seed: int) -> int:
    """Run one seed's training and evaluation as the whole run's command would; returns the exit code of its stages."""
    member = training_seeds.open_seed(Run.open(folder), seed)
    # Its siblings run at the same time, so nobody holds the whole run's lock.
    member.parent = None
    return pipeline.run_stages(member, stages.of_run(member.config, before_after=True), quiet=True, say=print)


def _has_baseline(folder: Path) -> bool:
    return (folder / "run.json").is_file() and Run.open(folder).record.is_done(BASE)


def _ends_of_tries(command: list[str], end: float, tries: int, log: Path) -> list[int | str]:
    """The exit code of each try, or that it was stopped when its time was over."""
    ends = []
    with log.open("a") as output:
        while len(ends) < tries and time.monotonic() < end and 0 not in ends:
            with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
                ends.append(_wait_until(process, end))
    return ends


def _wait_until(process: subprocess.Popen, end: float) -> int | str:
    """A process's exit code; one that still runs at `end` (of time.monotonic) is told to stop."""
    try:
        return process.wait(max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        process.terminate()
        return "time over"


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def table(case: str, result: dict[str, Any]) -> str:
    """One line per side, for a README."""
    lines = [f"{case}: {result['ends_of_tries']}, {result['whole_seconds']:.0f} s, stages {result['stages']}"]
    for side, metrics in result["sides"].items():
        shown = (f"{name} {metrics[name]['mean']:.3f}" for name in METRICS if name in metrics)
        lines.append(f"  {side}: {', '.join(shown)}")
    lines += [f"  {stage}: {result[stage]}" for stage in ("sft", "grpo") if stage in result]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
