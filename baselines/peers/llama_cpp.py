"""Agreement of two engines on one GGUF file: transformers on its dequantized weights, llama.cpp's server on the file.

    python -m baselines.peers.llama_cpp OUT.json --case NAME --model FILE.gguf --recipe NAME --data GSM8K_FOLDER
        --runs FOLDER (--python PYTHON | --base-url http://HOST:PORT/v1) [--limit 32] [--threads 1] [--passes greedy …]

PYTHON has the package xllamacpp, whose wheel is llama.cpp's own server (without AVX-512): it is started on a free port
of loopback and stopped at the end. --base-url asks a server that runs already, `llama-server -m FILE.gguf --port PORT`.
Both engines generate one greedy reply to each problem, and one as the recipe samples. FOLDER keeps these four runs; the
same command does what is missing. OUT.json keeps all cases, by name.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoModelForCausalLM

from baselines.peers import cases
from harness.config import Configuration
from harness.configure import configure
from harness.data import datasets
from harness.evaluation import prompts, provenance
from harness.models import chat, loading
from harness.parsing import formats
from harness.stages import BASE
from harness.storage.run_folder import Run
from harness.types import Completion

# It ends when this process does, as its input then ends.
SERVE = """
import sys, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_parallel, settings.n_ctx = sys.argv[1], 4, 8192
settings.cache_prompt = False
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = int(sys.argv[2])
server = xllamacpp.Server(settings)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
PASSES = {"greedy": ("temperature=0",), "sampled": ()}
ENGINES = ("transformers", "llama.cpp")
METRICS = ("accuracy_flexible", "format_strict", "truncated", "tokens")


@contextmanager
def serving(python: str, model: str | Path, threads: int = 1) -> Iterator[str]:
    """A llama.cpp server of a GGUF file, with four slots of 2,048 tokens; yields its base_url."""
    command = [python, "-c", SERVE, str(model), str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            address = next((line.strip() for line in process.stdout if line.startswith("http")), None)
            if address is None:
                raise RuntimeError(f"no server: {' '.join(command[:2])} … {model} ended with {process.wait()}")
            yield f"{address}/v1"
        finally:
            process.kill()


def main() -> None:
    parser = cases.options(__doc__, needs_data=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", nargs="*", choices=PASSES, default=list(PASSES))
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--python")
    server.add_argument("--base-url")
    given = parser.parse_args()
    server = nullcontext(given.base_url) if given.base_url else serving(given.python, given.model, given.threads)
    config = configure(given.model, given.recipe, {"dataset": "gsm8k", "data": given.data, "limit": given.limit}, [])
    config = datasets.settle_split(config, trains=False)
    model = loading.load(AutoModelForCausalLM, config.checkpoint, trust=False, dtype=torch.float32)
    with server as base_url:
        result = about(given, base_url) | {"start": same_start(given, config, model, base_url)}
        runs = {name: [run_of(given, name, engine, base_url) for engine in ENGINES] for name in given.passes}
    for name, (ours, theirs) in runs.items():
        result[name] = agreement(ours, theirs, model)
    print(json.dumps({given.case: result}, indent=1))
    cases.keep(given.out, given.case, result)


def run_of(given: argparse.Namespace, name: str, engine: str, base_url: str) -> Run:
    """The finished run of one engine, evaluated if it is not there."""
    folder = given.runs / f"{name}-{engine}"
    # Each start of a server has another address, which is another configuration.
    asked = ["--engine", "openai", "--engine-arg", f"base_url={base_url}", "--fresh"]
    command = [
        sys.executable, "-m", "harness", "eval", "--model", given.model, "--recipe", given.recipe, "--dataset", "gsm8k",
        "--data", given.data, "--limit", str(given.limit), "--output", str(folder),
        *(word for each in PASSES[name] for word in ("--set", each)),
        *(["--engine", "transformers"] if engine == "transformers" else asked),
    ]  # fmt: skip
    if not ((folder / "run.json").is_file() and Run.open(folder).record.is_done(BASE)):
        subprocess.run(command, check=True)
    return Run.open(folder)


def about(given: argparse.Namespace, base_url: str) -> dict[str, Any]:
    """Date, machine, versions and settings."""
    properties = httpx.get(f"{base_url.removesuffix('/v1')}/props").json()
    xllamacpp = given.python and subprocess.run(
        [given.python, "-c", "from importlib.metadata import version; print(version('xllamacpp'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    return {
        "date": str(date.today()),
        "machine": "two x86-64 cores, no GPU, shared with other work",
        "versions": provenance.versions() | {"xllamacpp": xllamacpp, "llama.cpp": properties["build_info"]},
        "model": Path(given.model).name,
        "stored_as": properties["model_ftype"],
        "recipe": given.recipe,
        "limit": given.limit,
        "slots": properties["total_slots"],
        "threads": given.threads,
    }


def same_start(given: argparse.Namespace, config: Configuration, model: Any, base_url: str) -> dict[str, Any]:
    """Whether both read the same prompts, and how alike the next token's probabilities are before any reply.

    `nats` are the distances of the log-probabilities of the ten tokens that llama.cpp finds likeliest.
    """
    tokenizer, root = loading.load_tokenizer(config.checkpoint), base_url.removesuffix("/v1")
    same_prompts = same_tokens = 0
    nats = []
    for problem in datasets.evaluation_problems(config).problems:
        messages = formats.messages(problem.question, prompts.system_text(config))
        ours = _ids(chat.render(tokenizer, messages), tokenizer)
        rendered = _posted(f"{root}/apply-template", messages=messages)["prompt"]
        theirs = _posted(f"{root}/tokenize", content=rendered, add_special=True, parse_special=True)["tokens"]
        same_prompts += ours == theirs
        wanted = {"prompt": ours, "max_tokens": 1, "temperature": 0, "logprobs": 10}
        likeliest = _posted(f"{base_url}/completions", **wanted)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        scores = _next_token(model, ours)
        same_tokens += int(scores.argmax()) == likeliest[0]["id"]
        nats += [abs(each["logprob"] - float(scores[each["id"]])) for each in likeliest]
    return {
        "problems": given.limit,
        "same_prompts": same_prompts,
        "same_first_token": same_tokens,
        "nats": {"mean": round(statistics.mean(nats), 4), "largest": round(max(nats), 4)},
    }


def _posted(address: str, **body: Any) -> dict:
    return httpx.post(address, json=body, timeout=600).raise_for_status().json()


def _next_token(model: Any, ids: list[int]) -> Any:
    """The log-probabilities of the token that follows, by transformers in float32."""
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


def _ids(text: str, tokenizer: Any) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def agreement(ours: Run, theirs: Run, model: Any) -> dict[str, Any]:
    """How alike the replies of two runs are, problem by problem.

    `first_difference` are the tokens that two unequal replies share from their start; with greedy replies `nats` is how
    much likelier transformers finds its own next token there than llama.cpp's.
    """
    tokenizer = loading.load_tokenizer(ours.config.checkpoint)
    end = min(loading.end_tokens(ours.config.checkpoint, tokenizer))
    replies = [{each.place: each for each in run.completions(BASE)} for run in (ours, theirs)]
    pairs = [[side[place] for side in replies] for place in sorted(replies[0])]
    tokens = [[_tokens(each, tokenizer, end) for each in pair] for pair in pairs]
    first = [_common(one, other) for one, other in tokens if one != other]
    found: dict[str, Any] = {
        "replies": len(pairs),
        "equal_to_the_letter": sum(one.text == other.text for one, other in pairs),
        "same_extracted_answer": _same_answers(ours, theirs),
        "first_difference": sorted(first),
    }
    if not ours.config.temperature:
        found["nats"] = sorted(_nats(ours, model, tokenizer, pairs, tokens))
    for name in METRICS:
        found[name] = [run.metrics(BASE)[name].mean for run in (ours, theirs)]
    return found


def _tokens(reply: Completion, tokenizer: Any, end: int) -> list[int]:
    """A reply's tokens, with the one that ended it."""
    return _ids(reply.text, tokenizer) + [end] * (reply.finish_reason == "stop")


def _common(one: list[int], other: list[int]) -> int:
    """How many tokens two lists share from their start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _same_answers(ours: Run, theirs: Run) -> int:
    answers = [{each.place: each.extracted for each in run.evaluation(BASE).scores} for run in (ours, theirs)]
    return sum(answers[1][place] == answer for place, answer in answers[0].items())


def _nats(run: Run, model: Any, tokenizer: Any, pairs: list, tokens: list) -> list[float]:
    """Of each pair of replies that differ, the difference of the two next tokens' log-probabilities."""
    questions = {each.id: each.question for each in datasets.evaluation_problems(run.config).problems}
    found = []
    for (reply, _), (one, other) in zip(pairs, tokens, strict=True):
        place = _common(one, other)
        if place < min(len(one), len(other)):
            messages = formats.messages(questions[reply.problem_id], prompts.system_text(run.config))
            scores = _next_token(model, _ids(chat.render(tokenizer, messages), tokenizer) + one[:place])
            found.append(round(float(scores[one[place]] - scores[other[place]]), 4))
    return found


if __name__ == "__main__":
    main()
