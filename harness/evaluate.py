"""The loop: problems -> engine -> journal -> scores -> metrics, for one side of a run."""

import hashlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version

from harness import datasets, formats, progress, registry
from harness.compare import metrics_of
from harness.config import Configuration
from harness.engines import ENGINES, Engine, engine_name
from harness.errors import UserError
from harness.formats import FORMATS
from harness.scoring import score_all
from harness.store import Journal, Run, write_json, write_lines
from harness.types import Completion, Dataset, Request

SCORED_AT_ONCE = 100
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "langid", "math-verify")


def evaluate(run: Run, side: str, adapter: str | None, quiet: bool, watch: Callable[[Completion], None] | None) -> None:
    """Draw what is missing of a side's replies, then grade the side; `watch` sees every new reply."""
    config, dataset = run.config, datasets.evaluation_problems(run.config)
    with run.stage(side) as provenance:
        what = f"{config.checkpoint}{' with its adapter' if adapter else ''}"
        progress.note(f"{side}: {engine_name(config.engine)} engine, {what}", quiet)
        engine = open_engine(config, adapter)
        provenance |= engine.provenance | {
            "problems": len(dataset.problems),
            "skipped_rows": dataset.skipped,
            "unanswered_rows": sum(problem.answer is None for problem in dataset.problems),
            "equality": dataset.equality,
            "dataset_sha": dataset_sha(dataset),
            "versions": versions(),
        }
        run.note(side, provenance)
        draw(run, side, engine, requests(config, dataset, engine), quiet, watch)
        score(run, side, quiet)


def dataset_sha(dataset: Dataset) -> str:
    """SHA-256 over questions and true answers, in order."""
    rows = json.dumps([(problem.question, problem.answer) for problem in dataset.problems])
    return hashlib.sha256(rows.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of every library that a figure depends on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def open_engine(config: Configuration, adapter: str | None) -> Engine:
    """The configured engine with its model loaded."""
    engine = registry.load("engine", engine_name(config.engine), ENGINES)
    return engine(config.checkpoint, adapter, config.engine_args)


def requests(config: Configuration, dataset: Dataset, engine: Engine) -> list[Request]:
    """Every reply that the run consists of: each problem's, `samples` times."""
    format = FORMATS[config.format]
    system = system_text(config)
    made = []
    for problem in dataset.problems:
        prompt = engine.render(formats.messages(problem.question, system))
        sha = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        prefix = formats.prompt_prefix(prompt, format)
        for index in range(config.samples):
            made.append(Request(problem, index, prompt, sha, prefix, config.seed, position=len(made)))
    return made


def system_text(config: Configuration) -> str | None:
    """The system prompt in force: the format's own, the user's, or none."""
    if config.system_prompt == "default":
        return formats.system_prompt(FORMATS[config.format], config.target_language)
    return None if config.system_prompt == "none" else config.system_prompt


def draw(
    run: Run, side: str, engine: Engine, wanted: list[Request], quiet: bool, watch: Callable[[Completion], None] | None
) -> None:
    """Journal every reply that is not yet there, as soon as it is finished."""
    journal_path = run.path / side / "completions.jsonl"
    asked = {request.place: request.prompt_sha for request in wanted}
    done = {completion.place: completion.prompt_sha for completion in run.completions(side)}
    if any(asked.get(place) != sha for place, sha in done.items()):
        raise UserError(f"{journal_path}: its prompts are not this run's (was the data edited?): start with --fresh")
    started, tokens = time.monotonic(), 0
    with (
        Journal(journal_path) as journal,
        progress.bar(side, len(wanted), len(done), quiet) as bar,
    ):
        for finished in engine.generate(wanted, done.keys(), run.config.sampling):
            journal.append(finished)
            tokens += sum(completion.n_tokens for completion in finished)
            bar.advance(len(finished), f"{tokens / (time.monotonic() - started):,.0f} tokens/s")
            for completion in finished if watch else ():
                watch(completion)


def score(run: Run, side: str, quiet: bool) -> None:
    """Grade a side's stored replies (again), no model loaded; writes scores.jsonl and metrics.json."""
    config, completions, scores = run.config, run.completions(side), []
    equality = run.record["provenance"][side]["equality"]
    with progress.bar(f"{side} scores", len(completions), quiet=quiet) as bar:
        for start in range(0, len(completions), SCORED_AT_ONCE):
            chunk = completions[start : start + SCORED_AT_ONCE]
            scores += score_all(chunk, config, equality)
            bar.advance(len(chunk))
    write_lines(run.path / side / "scores.jsonl", (asdict(each) for each in scores))
    write_json(run.path / side / "metrics.json", {name: asdict(each) for name, each in metrics_of(scores).items()})
