"""Output tokens per second of our evaluation's first pass, compared with vLLM's LLM.generate on the same prompts.

    python -m baselines.peers.vllm_speed OUT.json --case NAME --model FOLDER --recipe NAME --data GSM8K_FOLDER
        [--adapter FOLDER] [--limit N] [--repeats 3] [--filled] [--ways peer,ours] [--engine-arg key=value …]
        [--set key=value …]

Every measurement is a fresh process: it loads the model and generates all replies once, with the recipe's own sampling;
then a second time, to show what the first pass pays for. Of ours, the seconds of vLLM's scheduler are kept too. A first
process of each way fills the caches on disk and is not counted; --filled: they are full. The ways, which take turns:

    peer           LLM.generate, vLLM's defaults and the engine arguments that ours has, no seeds of the replies' own
    ours           our engine with the journal, as `harness run` generates
    ours-unseeded  the same without a seed of each reply's own
    both           base and adapter (with --adapter)
    mixed          the same in one batch

OUT.json keeps all cases, by name; runs are added to a case of the same day, machine, versions and settings.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from baselines.peers import cases
from harness.storage.files import read_json, write_json

WAYS = ("peer", "ours", "ours-unseeded", "both", "mixed")


def generated_by_peer(given: argparse.Namespace) -> dict[str, Any]:
    # vLLM's default: its engine in a process of its own; ours runs in this one.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    from vllm import LLM

    from harness.engines.vllm import _parameters
    from harness.models import checkpoints

    config, engine, requests = prepared(given, adapted=False)
    started = time.perf_counter()
    llm = LLM(
        model=checkpoints.locate(config.checkpoint), **engine.settings | engine._room_for(requests, config.max_tokens)
    )
    result: dict[str, Any] = {"load_seconds": time.perf_counter() - started, "passes": []}
    for _ in range(2):
        started = time.perf_counter()
        tokens = engine.tokenizer([request.prompt for request in requests], add_special_tokens=False)["input_ids"]
        parameters = _parameters(config.sampling, engine.ends, seed=None)
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in tokens], parameters, use_tqdm=False)
        lengths = [len(each.outputs[0].token_ids) for each in outputs]
        result["passes"].append(figures(time.perf_counter() - started, lengths))
    llm.llm_engine.engine_core.shutdown()  # its process would keep the GPU's memory from the next way
    return result


def generated_by_us(given: argparse.Namespace) -> dict[str, Any]:
    from harness.engines import vllm

    vllm.SEEDED = given.way != "ours-unseeded"
    config, engine, requests = prepared(given, adapted=False)
    if given.way in ("both", "mixed"):
        requests = requests + prepared(given, adapted=True)[2]
    started = time.perf_counter()
    engine.load(requests, config.max_tokens)
    norms = asdict(engine.engine.vllm_config.kernel_config.ir_op_priority)
    result: dict[str, Any] = {"load_seconds": time.perf_counter() - started, "norms": norms, "passes": []}
    in_scheduler = seconds_in(engine.engine.engine_core.engine_core.scheduler, "schedule", "update_from_output")
    for number in range(2):
        started, before = time.perf_counter(), sum(in_scheduler)
        lengths, journal_seconds = generated_and_journalled(engine, requests, config, given, number)
        seconds = time.perf_counter() - started
        parts = {"journal_seconds": journal_seconds, "scheduler_seconds": sum(in_scheduler) - before}
        result["passes"].append(figures(seconds, lengths) | parts)
    return result | {"provenance": engine.provenance}


def seconds_in(owner: Any, *methods: str) -> list[float]:
    """A list that every later call of these methods adds its seconds to."""
    seconds: list[float] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                seconds.append(time.perf_counter() - started)

        return call

    for name in methods:
        setattr(owner, name, timed(getattr(owner, name)))
    return seconds


def prepared(given: argparse.Namespace, adapted: bool) -> tuple[Any, Any, list]:
    """The configuration, our engine (not loaded) and the requests of one side."""
    from harness.configure import configure, key_values
    from harness.data import datasets
    from harness.data.datasets import settle_split
    from harness.engines import Setup
    from harness.engines.vllm import VllmEngine
    from harness.evaluation import prompts

    options = {"dataset": "gsm8k", "data": given.data, "limit": given.limit, "engine": "vllm"}
    config = settle_split(configure(given.model, given.recipe, options, given.set), trains=False)
    arguments = key_values("--engine-arg", given.engine_arg)
    engine = VllmEngine(Setup(config.checkpoint, given.adapter, arguments, config.seed, config.chat_template))
    return config, engine, prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=adapted)


def generated_and_journalled(
    engine: Any, requests: list, config: Any, given: argparse.Namespace, number: int
) -> tuple[list[int], float]:
    """The lengths in tokens of the requests' completions, and the seconds that the journal kept the engine's thread."""
    from harness.storage.journal import Journal

    mixed = given.way == "mixed"
    generated = (
        engine._generate(requests, config.sampling)
        if mixed
        else engine.generate(requests, frozenset(), config.sampling)
    )
    lengths, journal_seconds = [], 0.0
    with Journal(given.scratch / f"{number}.jsonl") as journal:
        for finished in generated:
            started = time.perf_counter()
            journal.append([completion for _, completion in finished])
            journal_seconds += time.perf_counter() - started
            lengths += [completion.n_tokens for _, completion in finished]
        closing = time.perf_counter()
    return lengths, journal_seconds + time.perf_counter() - closing


def figures(seconds: float, lengths: list[int]) -> dict[str, float]:
    tokens = sum(lengths)
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds, "longest": max(lengths)}


def in_a_process_of_its_own(way: str, scratch: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "baselines.peers.vllm_speed", *sys.argv[1:], "--way", way]
    started = time.perf_counter()
    subprocess.run([*command, "--scratch", str(scratch)], check=True)
    return read_json(scratch / "result.json") | {"whole_seconds": time.perf_counter() - started}


def main() -> None:
    parser = cases.options(__doc__, needs_data=True)
    parser.add_argument("--adapter")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--filled", action="store_true")
    parser.add_argument("--ways", default="peer,ours")
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        write_json(
            given.scratch / "result.json",
            (generated_by_peer if given.way == "peer" else generated_by_us)(given),
        )
        os._exit(0)
    measure(given)


def measure(given: argparse.Namespace) -> None:
    """Run the ways in turn; what is measured is kept at once."""
    case = cases.to_extend(given.out, given.case, about(given))
    runs: dict[str, list] = case.setdefault("runs", {})
    for number in range(1 if given.filled else 0, given.repeats + 1):
        for way in given.ways.split(","):
            with tempfile.TemporaryDirectory() as scratch:
                run = in_a_process_of_its_own(way, Path(scratch))
            first, second = run["passes"]
            print(
                f"{given.case} {way} {number or 'fills the caches'}: loaded in "
                f"{run['load_seconds']:.1f} s, {first['tokens_per_second']:,.0f} tokens/s, then "
                f"{second['tokens_per_second']:,.0f} tokens/s, {run['whole_seconds']:.1f} s in all",
                flush=True,
            )
            if number:
                runs.setdefault(way, []).append(run)
                cases.keep(given.out, given.case, case | medians_of(runs))


def medians_of(runs: dict[str, list]) -> dict[str, Any]:
    """The medians of each way, and the ratio of its first pass to the peer's."""
    medians = {
        way: [statistics.median(run["passes"][place]["tokens_per_second"] for run in done) for place in (0, 1)]
        for way, done in runs.items()
    }
    result: dict[str, Any] = {"median_tokens_per_second_first_and_second_pass": medians}
    if "peer" in medians:
        result["first_pass_over_peer"] = {way: median[0] / medians["peer"][0] for way, median in medians.items()}
    return result


def about(given: argparse.Namespace) -> dict[str, Any]:
    """Machine, date, versions and settings."""
    from vllm.platforms import current_platform

    from harness.configure import configure
    from harness.evaluation import provenance

    config = configure(given.model, given.recipe, {"dataset": "gsm8k", "data": given.data}, given.set)
    return {
        "date": str(date.today()),
        "machine": current_platform.get_device_name(),
        "versions": provenance.versions(),
        "recipe": given.recipe,
        "engine_args": given.engine_arg,
        "sampling": asdict(config.sampling),
        "limit": given.limit,
    }


if __name__ == "__main__":
    main()
