"""Output tokens per second of our transformers engine on a CPU, compared with model.generate in static batches.

    python -m baselines.peers.cpu_speed OUT.json --case NAME --model MODEL --recipe NAME [--data GSM8K_FOLDER]
        [--ways peer continuous ours] [--earlier CHECKOUT] [--limit N] [--repeats 3] [--engine-arg key=value …]
        [--set key=value …]

    peer        model.generate on batches of 64, sorted by length
    continuous  model.generate_batch, transformers' continuous batching, of 64 replies at once
    ours        our engine, with the same batches
    earlier     our engine in another checkout of this repository, with the same batches

All load the model in float32 unless told otherwise, take the same prompts and sample with the recipe's settings; the
peers' random numbers are torch's, so their replies are others. Every measurement is a fresh process that loads the
model and generates all replies once; the ways take turns. OUT.json keeps all cases, by name.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from baselines.peers import cases
from harness.storage.files import read_json, write_json

WAYS = ("peer", "continuous", "ours")
EARLIER = "earlier"
REPOSITORY = Path(__file__).parents[2]
# Of the cache of continuous batching, which takes all memory unless told how much.
BLOCK = 32


def prepared(given: argparse.Namespace) -> tuple[Any, Any, list]:
    """The configuration, our engine with its model loaded, and the base's requests; torch is seeded."""
    import torch

    from harness.configure import configure, key_values
    from harness.data import datasets
    from harness.data.datasets import settle_split
    from harness.evaluation.evaluate import open_engine
    from harness.evaluation.prompts import requests

    options = {"engine": "transformers", "limit": given.limit}
    options |= {"engine_args": key_values("--engine-arg", given.engine_arg)}
    if given.data:
        options |= {"dataset": "gsm8k", "data": given.data}
    config = settle_split(configure(given.model, given.recipe, options, given.set), trains=False)
    engine = open_engine(config, None)
    engine.load()
    torch.manual_seed(config.seed)
    return config, engine, requests(config, datasets.evaluation_problems(config), engine, adapted=False)


def generated_by_us(given: argparse.Namespace) -> dict[str, float]:
    config, engine, requests = prepared(given)
    started = time.perf_counter()
    finished = [each for batch in engine.generate(requests, frozenset(), config.sampling) for each in batch]
    return figures(started, [completion.n_tokens for _, completion in finished])


def settings_of(config: Any, engine: Any) -> Any:
    """The recipe's sampling, as transformers has it."""
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=config.max_tokens,
        do_sample=config.temperature > 0,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        eos_token_id=sorted(engine.ends),
        pad_token_id=engine.tokenizer.pad_token_id,
    )


def generated_continuously(given: argparse.Namespace) -> dict[str, float]:
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    config, engine, requests = prepared(given)
    settings, started = settings_of(config, engine), time.perf_counter()
    ids = [engine.tokenizer(each.prompt, add_special_tokens=False)["input_ids"] for each in requests]
    blocks = engine.batch_size * ((max(map(len, ids)) + config.max_tokens) // BLOCK + 1)
    cache = ContinuousBatchingConfig(
        block_size=BLOCK, num_blocks=blocks, max_batch_tokens=512, max_requests_per_batch=engine.batch_size
    )
    replies = engine.model.generate_batch(inputs=ids, generation_config=settings, continuous_batching_config=cache)
    return figures(started, [len(each.generated_tokens) for each in replies.values()])


def generated_by_peer(given: argparse.Namespace) -> dict[str, float]:
    import torch

    config, engine, requests = prepared(given)
    settings = settings_of(config, engine)
    started, lengths = time.perf_counter(), []
    ids = sorted((engine.tokenizer(each.prompt, add_special_tokens=False)["input_ids"] for each in requests), key=len)
    for start in range(0, len(ids), engine.batch_size):
        inputs = engine.tokenizer.pad({"input_ids": ids[start : start + engine.batch_size]}, return_tensors="pt")
        with torch.inference_mode():
            output = engine.model.generate(**inputs, generation_config=settings)
        for row in output[:, inputs["input_ids"].shape[1] :].tolist():
            lengths.append(next((place + 1 for place, token in enumerate(row) if token in engine.ends), len(row)))
    return figures(started, lengths)


def figures(started: float, lengths: list[int]) -> dict[str, float]:
    seconds, tokens = time.perf_counter() - started, sum(lengths)
    return {"seconds": seconds, "replies": len(lengths), "tokens": tokens, "tokens_per_second": tokens / seconds}


def main() -> None:
    parser = cases.options(__doc__)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument(f"--{EARLIER}", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--way", choices=(*WAYS, EARLIER), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        ours = dict.fromkeys(("ours", EARLIER), generated_by_us)
        ways = {"peer": generated_by_peer, "continuous": generated_continuously} | ours
        write_json(given.out, ways[given.way](given))
        return
    runs: dict[str, list] = {way: [] for way in [*given.ways, *([EARLIER] if given.earlier else [])]}
    for _ in range(given.repeats):
        for way in runs:
            runs[way].append(in_a_process_of_its_own(way, given.earlier))
            print(f"{given.case} {way}: {runs[way][-1]['tokens_per_second']:,.0f} tokens/s", flush=True)
    medians = {way: statistics.median(run["tokens_per_second"] for run in runs[way]) for way in runs}
    case = about(given) | {"runs": runs, "median_tokens_per_second": medians}
    for other in medians.keys() & {"peer", EARLIER} if "ours" in medians else ():
        case[f"ours_over_{other}"] = medians["ours"] / medians[other]
        print(f"{given.case}: ours {medians['ours'] / medians[other]:.2f} times {other}")
    cases.keep(given.out, given.case, case)


def in_a_process_of_its_own(way: str, earlier: Path | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "result.json"
        command = [sys.executable, "-P", "-m", "baselines.peers.cpu_speed", str(out), *sys.argv[2:], "--way", way]
        if earlier and way == EARLIER:
            (Path(scratch) / "harness").symlink_to(earlier.resolve() / "harness")
        # The first folder that has `harness` counts; the earlier one may lack this script.
        path = {"PYTHONPATH": os.pathsep.join([scratch, str(REPOSITORY)])}
        subprocess.run(command, check=True, env=os.environ | path)
        return read_json(out)


def about(given: argparse.Namespace) -> dict[str, Any]:
    """Machine, date, versions and settings."""
    import torch

    from harness.evaluation import provenance

    machine = f"{os.cpu_count()} cores, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    kept = {"recipe": given.recipe, "limit": given.limit, "engine_args": given.engine_arg, "settings": given.set}
    return {"date": str(date.today()), "machine": machine, "versions": provenance.versions()} | kept


if __name__ == "__main__":
    main()
