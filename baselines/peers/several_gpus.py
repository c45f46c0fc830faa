"""Seconds of an evaluation on several GPUs: one replica, one on each GPU, and vLLM's own data-parallel server.

    python -m baselines.peers.several_gpus OUT.json --case NAME --model MODEL --recipe NAME [--data GSM8K_FOLDER]
        [--ways one replicas server job-one job] [--replicas 2] [--engine vllm] [--limit N] [--set key=value …]

Each way is one whole command in a fresh process, with no cached baseline:

    one        harness eval with one replica
    replicas   harness eval with as many as --replicas says
    server     harness eval that asks `vllm serve --data-parallel-size`, which is started before and stopped after it
    job-one    harness run --before-after that sees the first GPU alone
    job        the same with all GPUs, where the base is evaluated beside the training

`load` and `generate` are the engine's own seconds (the server's start for `load`), `seconds` those of the command from
its first import to its end. OUT.json keeps all cases, by name, and of a case the ways that were measured on the same
day, machine, versions and settings.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from baselines.peers import cases
from harness.engines.gpus import REPLICAS, VARIABLE
from harness.evaluation import provenance
from harness.stages import BASE
from harness.storage.run_folder import Run

WAYS = ("one", "replicas", "server", "job-one", "job")
JOBS = ("job-one", "job")
SERVED = "base"
SECONDS_TO_START = 300


def main() -> None:
    parser = cases.options(__doc__)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--engine", default="vllm")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    case = cases.to_extend(given.out, given.case, about(given))
    ways = case.setdefault("ways", {})
    for way in given.ways:
        with tempfile.TemporaryDirectory() as scratch:
            ways[way] = figures_of(given, way, Path(scratch))
        print(f"{given.case} {way}: {ways[way]}", flush=True)
        cases.keep(given.out, given.case, case)


def figures_of(given: argparse.Namespace, way: str, scratch: Path) -> dict[str, float]:
    """The seconds of one way, and its output tokens a second once all is loaded."""
    ours = ["--engine", given.engine]
    if way in JOBS:
        return whole(given, way, scratch, ours)
    if way != "server":
        replicas = given.replicas if way == "replicas" else 1
        return whole(given, way, scratch, [*ours, "--engine-arg", f"{REPLICAS}={replicas}"])
    started = time.perf_counter()
    with serving(given) as address:
        load = time.perf_counter() - started
        asked = {"base_url": address, "model": SERVED, "tokenizer": given.model}
        arguments = [word for pair in asked.items() for word in ("--engine-arg", "=".join(pair))]
        figures = whole(given, way, scratch, ["--engine", "openai", *arguments])
    return figures | {"load": load, "seconds": figures["seconds"] + load}


def whole(given: argparse.Namespace, way: str, scratch: Path, engine: list[str]) -> dict[str, float]:
    """The seconds of one whole command of ours."""
    options = ["--model", given.model, "--recipe", given.recipe, "--output", str(scratch / "run"), "--quiet", *engine]
    options += ["--dataset", "gsm8k", "--data", given.data] if given.data else []
    options += ["--limit", str(given.limit)] if given.limit else []
    options += [word for each in given.set for word in ("--set", each)]
    command = ["run", "--before-after"] if way in JOBS else ["eval"]
    environment = os.environ | {"HARNESS_CACHE": str(scratch / "cache")}
    if way == "job-one":
        environment[VARIABLE] = os.environ.get(VARIABLE, "0").partition(",")[0]
    started = time.perf_counter()
    command = [sys.executable, "-m", "harness", *command, *options]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    run = Run.open(scratch / "run")
    stages = {f"{name}_stage": stage["seconds"] for name, stage in run.record.stages.items()}
    parts = run.record.provenance[BASE]["seconds"]
    tokens = sum(each.n_tokens for each in run.completions(BASE))
    figures = {"seconds": seconds, "load": parts["load"], "generate": parts["draw"], "tokens": tokens}
    return figures | {"tokens_per_second": tokens / parts["draw"]} | (stages if way in JOBS else {})


@contextmanager
def serving(given: argparse.Namespace) -> Iterator[str]:
    """vLLM's data-parallel server on a free port of loopback, when it answers; yields its base_url."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", given.model, "--served-model-name", SERVED,
        "--data-parallel-size", str(given.replicas), "--generation-config", "vllm", "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=sys.stderr, start_new_session=True) as server:
        try:
            last = time.monotonic() + SECONDS_TO_START
            while not answers(f"http://127.0.0.1:{port}/health"):
                if server.poll() is not None or time.monotonic() > last:
                    raise RuntimeError(f"no server within {SECONDS_TO_START} s: {' '.join(command)}")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.HTTPError:
        return False


def about(given: argparse.Namespace) -> dict[str, Any]:
    """Machine, date, versions and settings."""
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    machine = f"{len(names)} {names[0]}" if names else f"{os.cpu_count()} cores, no GPU"
    kept = {"recipe": given.recipe, "engine": given.engine, "limit": given.limit, "settings": given.set}
    return {"date": str(date.today()), "machine": machine, "versions": provenance.versions()} | kept


if __name__ == "__main__":
    main()
