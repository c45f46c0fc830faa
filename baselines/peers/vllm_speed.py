"""Output tokens per second of our evaluation, compared with vLLM's own LLM.generate: same prompts, same process.

    python -m baselines.peers.vllm_speed --model FOLDER --data GSM8K_FOLDER --output RESULT.json
        [--adapter FOLDER] [--limit N] [--tokens 256] [--repeats 3] [--engine-arg key=value …]
        [--set top_k=64 …] [--unseeded]

The two load one after the other with the same engine arguments, each is warmed up by its first prompts, then they are
timed over all the prompts. With --adapter ours also draws base and adapter together. End of sequence ends a reply: with
random weights none comes. --set changes how is sampled (temperature 1 and nothing truncated unless set); --unseeded
also draws ours without a seed of each reply's own, in turn with those that have one.
"""

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from unittest.mock import patch

import torch
from vllm import LLM

from harness.config import Configuration
from harness.configure import configure, key_values
from harness.data import datasets
from harness.data.datasets import settle_split
from harness.engines import Setup, vllm
from harness.engines.vllm import VllmEngine, _parameters
from harness.evaluation import prompts, provenance
from harness.types import Request

WARM_UP = 32


def configuration(given: argparse.Namespace) -> Configuration:
    options = {"dataset": "gsm8k", "data": given.data, "limit": given.limit, "engine": "vllm"}
    settings = [f"max_tokens={given.tokens}", "temperature=1.0", "top_p=1.0", "top_k=0", *given.set]
    return settle_split(configure(given.model, "gemma3-4b", options, settings), trains=False)


def generated_by_us(engine: VllmEngine, requests: list[Request], config: Configuration) -> dict[str, float]:
    started, first, tokens = time.perf_counter(), None, 0
    for finished in engine.generate(requests, frozenset(), config.sampling):
        first = first or time.perf_counter() - started
        tokens += sum(completion.n_tokens for _, completion in finished)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds, "first_reply": first}


def generated_by_peer(llm: LLM, engine: VllmEngine, requests: list[Request], config: Configuration) -> dict[str, float]:
    started = time.perf_counter()
    tokens = engine.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]
    prompts = [{"prompt_token_ids": ids} for ids in tokens]
    outputs = llm.generate(prompts, _parameters(config.sampling, engine.ends, seed=None), use_tqdm=False)
    seconds = time.perf_counter() - started
    tokens = sum(len(each.outputs[0].token_ids) for each in outputs)
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}


def generated_unseeded(engine: VllmEngine, requests: list[Request], config: Configuration) -> dict[str, float]:
    with patch.object(vllm, "SEEDED", False):
        return generated_by_us(engine, requests, config)


@contextmanager
def vllms_own_process() -> Iterator[None]:
    """vLLM's default: its engine in a process of its own; ours runs it in this one."""
    kept = os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"]
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    try:
        yield
    finally:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = kept


def memory_used() -> float | None:
    """GiB of the GPU in use, by all processes."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--unseeded", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    config = configuration(given)
    arguments = key_values("--engine-arg", given.engine_arg)

    engine = VllmEngine(Setup(config.checkpoint, given.adapter, arguments, config.seed))
    dataset = datasets.evaluation_problems(config)
    requests = prompts.requests(config, dataset, engine, adapted=False)
    result = {
        "date": str(date.today()),
        "machine": engine.provenance["device"],
        "versions": provenance.versions(),
        "engine_args": engine.settings,
        "sampling": asdict(config.sampling),
        "prompts": len(requests),
        "load_seconds": {},
    }

    started = time.perf_counter()
    with vllms_own_process():
        llm = LLM(model=config.checkpoint, **engine.settings)
    result["load_seconds"]["peer"] = time.perf_counter() - started
    generated_by_peer(llm, engine, requests[:WARM_UP], config)
    result["peer"] = [generated_by_peer(llm, engine, requests, config) for _ in range(given.repeats)]
    llm.llm_engine.engine_core.shutdown()
    del llm
    gc.collect()

    started = time.perf_counter()
    engine.load(requests, config.max_tokens)
    result["load_seconds"]["ours"] = time.perf_counter() - started
    generated_by_us(engine, requests[:WARM_UP], config)
    ways = {"ours": generated_by_us} | ({"ours_unseeded": generated_unseeded} if given.unseeded else {})
    result |= {name: [] for name in ways}
    for _ in range(given.repeats):
        for name, draw in ways.items():
            result[name].append(draw(engine, requests, config))
    if given.adapter:
        result["adapter_effect"] = vars(engine.adapter_effect(requests[:4]))
        both = requests + prompts.requests(config, dataset, engine, adapted=True)
        result["ours_both_sides"] = [generated_by_us(engine, both, config) for _ in range(given.repeats)]
    result["gpu_memory_gib"] = memory_used()
    medians = {name: statistics.median(each["tokens_per_second"] for each in result[name]) for name in (*ways, "peer")}
    result["median_tokens_per_second"] = medians
    result["ours_over_peer"] = medians["ours"] / medians["peer"]
    if given.unseeded:
        result["seeded_over_unseeded"] = medians["ours"] / medians["ours_unseeded"]
    given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    shown = ("median_tokens_per_second", "ours_over_peer", "seeded_over_unseeded", "load_seconds")
    print(json.dumps({key: result[key] for key in shown if key in result}))


if __name__ == "__main__":
    main()
