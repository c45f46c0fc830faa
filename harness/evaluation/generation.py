"""The completions of an evaluation: those that are there already, those that are missing, and a few a second time."""

import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.console import progress
from harness.engines import Engine, OnCompletion
from harness.errors import UserError
from harness.evaluation import cached_baselines
from harness.evaluation.scoring import NO_ROOM
from harness.stages import BASE, LAST
from harness.storage.journal import Journal
from harness.storage.run_folder import Run
from harness.types import Completion, Dataset, Request, Sampling

GENERATED_AGAIN = 8


@dataclass
class Job:
    """An evaluation under way: its problems, the engine, and for each side the prompts and what run.json records.

    `done` are the keys of the requests whose completions are journalled already, `baseline_key` what decides a baseline
    that may be cached.
    """

    run: Run
    problems: Dataset
    engine: Engine
    adapter: str | None
    prompts: dict[str, list[Request]]
    records: dict[str, dict]
    quiet: bool
    done: AbstractSet[tuple[bool, str, int]] = frozenset()
    baseline_key: dict | None = None

    @property
    def sides(self) -> list[str]:
        return list(self.prompts)

    @property
    def requests(self) -> list[Request]:
        return [request for side in self.prompts.values() for request in side]

    @property
    def missing(self) -> int:
        return len(self.requests) - len(self.done)

    @property
    def stops_early(self) -> bool:
        return self.run.config.stop_early and LAST in self.prompts


@contextmanager
def timed(job: Job, part: str) -> Iterator[None]:
    """Record how many seconds the body takes, finished or not, on top of what earlier processes of the sides took."""
    started = time.monotonic()
    try:
        yield
    finally:
        for record in job.records.values():
            parts = record.setdefault("seconds", {})
            parts[part] = round(parts.get(part, 0.0) + time.monotonic() - started, 2)


def reuse_baseline(job: Job) -> bool:
    """Journal a baseline that an earlier run has generated, if this run has none yet and the cache has one."""
    if job.run.completions(BASE):
        return False
    cached = cached_baselines.fetch(job.baseline_key, job.prompts[BASE])
    if cached is None:
        return False
    with Journal(job.run.path / BASE / "completions.jsonl") as journal:
        journal.append(cached)
    progress.note(f"{BASE}: {len(cached)} replies from the cache of baselines", job.quiet)
    return True


def journalled(job: Job) -> set[tuple[bool, str, int]]:
    """The keys of all requests whose completions are there. Raises UserError if a completion is to another prompt."""
    return {key for side in job.sides for key in _journalled_of(job.run, side, job.prompts[side])}


def _journalled_of(run: Run, side: str, requests: Sequence[Request]) -> Iterator[tuple[bool, str, int]]:
    by_place = {request.place: request for request in requests}
    for completion in run.completions(side):
        request = by_place.get(completion.place)
        if request is None or request.prompt_sha != completion.prompt_sha:
            path = run.path / side / "completions.jsonl"
            raise UserError(f"{path}: its prompts are not this run's (was the data edited?): start with --fresh")
        yield request.key


def generate_missing(
    job: Job, prompts: Mapping[str, Sequence[Request]], on_completion: OnCompletion | None = None
) -> None:
    """Generate every completion of `prompts` that is not done, and journal each as soon as it is finished."""
    requests = [request for side in prompts.values() for request in side]
    started, tokens = time.monotonic(), 0
    with ExitStack() as open_files:
        journals = {
            side != BASE: open_files.enter_context(Journal(job.run.path / side / "completions.jsonl"))
            for side in prompts
        }
        done = sum(request.key in job.done for request in requests)
        bar = open_files.enter_context(progress.bar(" and ".join(prompts), len(requests), done, job.quiet))
        for finished in job.engine.generate(requests, job.done, job.run.config.sampling):
            for adapted, journal in journals.items():
                journal.append([completion for request, completion in finished if request.adapted == adapted])
            tokens += sum(completion.n_tokens for _, completion in finished)
            bar.advance(len(finished), f"{tokens / (time.monotonic() - started):,.0f} tokens/s")
            for _, completion in finished if on_completion else ():
                on_completion(completion)


def generate_again(
    engine: Engine, completions: Sequence[Completion], requests: Sequence[Request], sampling: Sampling
) -> dict[str, int]:
    """Generate a few greedy completions a second time, those to the shortest prompts, and count those that differ."""
    few = sorted(requests, key=lambda request: len(request.prompt))[:GENERATED_AGAIN]
    done = {request.key for request in requests} - {request.key for request in few}
    texts = {completion.place: completion.text for completion in completions}
    again = [completion for batch in engine.generate(requests, done, sampling) for _, completion in batch]
    return {"replies": len(again), "differ": sum(each.text != texts[each.place] for each in again)}


def count_unasked(run: Run, side: str, completions: Sequence[Completion], quiet: bool) -> int:
    """How many completions of a side are empty because their question fills the model's context.

    Raises UserError if all are.
    """
    count = sum(each.is_unasked for each in completions)
    if count == len(completions):
        raise UserError(
            f"{run.config.checkpoint}: every question is longer than its context: give a model that reads more"
        )
    if count:
        progress.note(f"{side}: {count} of {len(completions)} replies are left unscored: {NO_ROOM}", quiet)
    return count
