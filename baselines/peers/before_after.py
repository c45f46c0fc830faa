"""Base and adapter from one engine of ours, compared with two runs of lm-eval's vLLM: whole processes, same prompts.

    python -m baselines.peers.before_after ours|peer --model FOLDER --recipe NAME --adapter FOLDER --data GSM8K_FOLDER
        --output RESULT.json [--limit N] [--repeats 3] [--warm-up] [--engine-arg key=value …] [--set key=value …]

`ours` is `harness run`, from its first import to its written report; `peer` the base and then the base with its
adapter, with the recipe's sampling. With --warm-up one more run comes first, untimed. What is measured is added to what
RESULT.json holds, run by run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from vllm.platforms import current_platform

from harness.config import Configuration
from harness.configure import configure, key_values
from harness.data import datasets
from harness.data.datasets import settle_split
from harness.engines.vllm_settings import value_of
from harness.evaluation import evaluate, prompts, provenance
from harness.models import adapters
from harness.storage.files import write_json, write_lines


def run_ours(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    arguments = [word for each in given.engine_arg for word in ("--engine-arg", each)]
    limit = ["--limit", str(given.limit)] if given.limit else []
    command = [
        sys.executable, "-m", "harness", "run", "--model", given.model, "--recipe", given.recipe, "--dataset", "gsm8k",
        "--data", given.data, "--adapter", given.adapter, "--engine", "vllm", "--output", str(out), "--quiet",
        *arguments, *limit, *(word for each in given.set for word in ("--set", each)),
    ]  # fmt: skip
    environment = os.environ | {"HARNESS_CACHE": str(folder / "cache")}
    shutil.rmtree(folder / "cache", ignore_errors=True)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds = time.perf_counter() - started
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    figures = record["provenance"]["after"]["seconds"]
    stages = sum(record["stages"][stage]["seconds"] for stage in ("after", "report"))
    return {
        "seconds": seconds,
        "load_seconds": figures["load"],
        "probe_seconds": figures["probe"],
        "run_seconds": figures["draw"],
        "stages_seconds": stages,
    }


def run_peer(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    runs, config = [], configuration(given)
    sampling = {"max_gen_toks": config.max_tokens, "do_sample": config.temperature > 0}
    sampling |= {name: getattr(config, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    for adapter in (None, given.adapter):
        model_args: dict[str, Any] = {
            "pretrained": given.model,
            "batch_size": "auto",
            "max_gen_toks": config.max_tokens,
        }
        model_args |= {key: value_of(text) for key, text in key_values("--engine-arg", given.engine_arg).items()}
        if adapters.is_wrapper(given.model):
            model_args["limit_mm_per_prompt"] = {"image": 0}
        if adapter:
            model_args |= {"lora_local_path": adapter, "max_lora_rank": max(8, adapters.rank(adapter))}
        settings = {"prompts": str(folder / "prompts.jsonl"), "sampling": sampling, "model_args": model_args}
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "baselines.peers.lm_eval_run", str(folder / "settings.json")]
        started = time.perf_counter()
        # With vLLM's own defaults: our engine's environment would be inherited.
        environment = {key: value for key, value in os.environ.items() if key != "VLLM_ENABLE_V1_MULTIPROCESSING"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        runs.append({"seconds": time.perf_counter() - started} | json.loads(done.stdout.strip().splitlines()[-1]))
    return {"seconds": sum(run["seconds"] for run in runs), "base": runs[0], "adapter": runs[1]}


def configuration(given: argparse.Namespace) -> Configuration:
    options = {"dataset": "gsm8k", "data": given.data, "limit": given.limit, "engine": "vllm"}
    return settle_split(configure(given.model, given.recipe, options, given.set), trains=False)


def write_prompts(given: argparse.Namespace, path: Path) -> int:
    """The prompts as our engine renders them."""
    config = configuration(given)
    engine = evaluate.open_engine(config, None)
    requests = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=False)
    write_lines(path, ({"prompt": each.prompt, "answer": each.problem.answer} for each in requests))
    return len(requests)


def about(given: argparse.Namespace) -> dict[str, Any]:
    """Date, machine, versions and settings."""
    return {
        "date": str(date.today()),
        "machine": current_platform.get_device_name(),
        "versions": provenance.versions((*provenance.PACKAGES, "lm-eval")),
        "recipe": given.recipe,
        "engine_args": given.engine_arg,
    }


def medians_of(result: dict[str, Any]) -> dict[str, Any]:
    """The medians of both, and our share of the peer's; nothing until both are there."""
    if not {"ours", "peer"} <= result.keys():
        return {}
    ours, peer = (statistics.median(each["seconds"] for each in result[who]) for who in ("ours", "peer"))
    return {"median_seconds": {"ours": ours, "peer": peer}, "ours_over_peer": ours / peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", choices=("ours", "peer"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warm-up", action="store_true")
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    result = json.loads(given.output.read_text(encoding="utf-8")) if given.output.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result["prompts"] = write_prompts(given, folder / "prompts.jsonl")
        run = {"ours": run_ours, "peer": run_peer}[given.who]
        if given.warm_up:
            run(given, folder)
        for _ in range(given.repeats):
            result.setdefault(given.who, []).append(run(given, folder))
            write_json(given.output, result | about(given) | medians_of(result))
    print(json.dumps(result[given.who]))


if __name__ == "__main__":
    main()
