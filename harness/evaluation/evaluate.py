"""The loop: problems -> engine -> journal -> scores -> metrics, for the sides of a run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

from harness import registry
from harness.config import Configuration
from harness.console import progress
from harness.data import datasets
from harness.engines import ENGINES, SERVER, Engine, Setup, agreement, engine_name
from harness.engines.base_weights import evaluation_weights
from harness.errors import UserError
from harness.evaluation import cached_baselines, looks, provenance
from harness.evaluation.prompts import SYSTEM_MOVED, requests, system_text
from harness.evaluation.scoring import NO_ROOM, score_all
from harness.models import adapters
from harness.statistics.compare import metrics_of
from harness.storage.files import Journal, write_json, write_lines
from harness.storage.run_folder import SIDE_FILES, Run
from harness.storage.stages import BASE, LAST
from harness.types import Completion, Dataset, Request, Score

PROBES = 16
DRAWN_AGAIN = 8
SCORED_AT_ONCE = 100
Watch = Callable[[Completion], None] | None


@dataclass
class Job:
    """An evaluation under way: what is asked of which side, by which engine, and what is recorded of each side."""

    run: Run
    dataset: Dataset
    engine: Engine
    adapter: str | None
    asked: dict[str, list[Request]]
    records: dict[str, dict]
    quiet: bool

    @property
    def sides(self) -> list[str]:
        return list(self.asked)

    @property
    def by_looks(self) -> bool:
        return self.run.config.stop_early and LAST in self.asked

    @property
    def requests(self) -> list[Request]:
        return [request for side in self.asked.values() for request in side]


def evaluate(run: Run, sides: Sequence[str], adapter: str | None, quiet: bool, watch: Watch) -> None:
    """Generate what is missing of the sides' replies in one engine, then score them; `watch` sees every new reply."""
    config, dataset, seconds = run.config, datasets.evaluation_problems(run.config), {}
    with ExitStack() as stages, ThreadPoolExecutor(1) as beside:
        records = {side: stages.enter_context(run.record.stage(side)) for side in sides}
        # Gigabytes are hashed while the engine's library is imported.
        hashing = beside.submit(provenance.fingerprint, config)
        engine = open_engine(config, adapter)
        asked = {side: requests(config, dataset, engine, adapted=side != BASE) for side in sides}
        job = Job(run, dataset, engine, adapter, asked, records, quiet)
        _announce(job)
        cache_key = _record_inputs(job, hashing.result())
        if cache_key and reuse_baseline(run, cache_key, asked[BASE], quiet):
            records[BASE]["cached"] = True
            run.record.set_provenance(BASE, records[BASE])
        done = {request.key for side in sides for request in _done(run, side, asked[side])}
        missing = len(job.requests) - len(done)
        with _timed(seconds, "load"):
            if adapter or missing:
                with progress.libraries_into(run.path / sides[-1] / "engine.log"):
                    engine.load(job.requests, config.max_tokens)
        with _timed(seconds, "probe"):
            if adapter:
                records[sides[-1]]["adapter_effect"] = prove_adapter(config, adapter, engine, asked[sides[-1]], quiet)
                records[sides[-1]]["agreement"] = agreement.prove(adapter, engine.score)
        with _timed(seconds, "draw"):
            scores = _generate(job, done, missing, watch)
        _record_generated(job, seconds, missing)
        # What is generated look by look is perhaps not whole, nor in a whole side's batches.
        if cache_key and not (job.by_looks or records[BASE]["cached"] or "earlier_paces" in records[BASE]):
            cached_baselines.keep(cache_key, run.completions(BASE))
        for side in sides:
            records[side]["unasked"] = unasked(run, side, quiet)
            score(run, side, quiet, scores.get(side, ()))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 2)


def _announce(job: Job) -> None:
    """Say what is evaluated by what, and what was decided on the way."""
    config, provenance_of, sides = job.run.config, job.engine.provenance, " and ".join(job.sides)
    model = f"{provenance_of.get('model', config.checkpoint)}{' with its adapter' if job.adapter else ''}"
    progress.note(f"{sides}: {engine_name(config.engine)} engine, {model}", job.quiet)
    for key, why in provenance.replaced(config).items():
        progress.note(f"{sides}: {key} {why}", job.quiet)
    if provenance_of.get("system_prompt") and system_text(config):
        progress.note(SYSTEM_MOVED, job.quiet)
    for note in job.dataset.notes:
        progress.note(note, job.quiet)


def _record_inputs(job: Job, fingerprint: dict[str, str] | None) -> dict | None:
    """Record what each side's replies depend on, and return what decides a baseline that may be cached.

    Raises UserError if a side has replies that depend on something else.
    """
    run, config, replaced = job.run, job.run.config, provenance.replaced(job.run.config)
    earlier, cache_key = run.record.provenance, None
    problems = provenance.dataset_record(job.dataset)
    inputs = {"dataset_sha": problems["dataset_sha"], "checkpoint": fingerprint}
    provenance.refuse_changed_inputs(run, earlier, inputs)
    for side, record in job.records.items():
        by = provenance.generated_by(config, job.engine, fingerprint, job.adapter if side != BASE else None)
        record |= by | problems | provenance.carried_over(run, side, earlier.get(side, {}), by)
        record |= {"replaced": replaced} if replaced else {}
        run.record.set_provenance(side, record)
        if side == BASE and fingerprint:
            sampling = replace(config.sampling, n=config.samples_of(adapted=False))
            cache_key = cached_baselines.determinants(by, job.asked[BASE], sampling)
    return cache_key


def _generate(job: Job, done: AbstractSet[tuple[bool, str, int]], missing: int, watch: Watch) -> dict[str, list[Score]]:
    """Generate what is not done; the scores that are known already, by side, where the run looks before the end."""
    if not job.by_looks:
        if missing:
            draw(job.run, job.engine, job.asked, done, job.quiet, watch)
        return {}
    stopped, scores = looks.generate_until_clear(
        job.run,
        job.dataset,
        job.asked,
        lambda asked: draw(job.run, job.engine, asked, done, job.quiet, watch),
        job.quiet,
    )
    for record in job.records.values():
        record |= {} if record["cached"] else {"stopped_early": asdict(stopped)}
    return scores


def _record_generated(job: Job, seconds: dict[str, float], missing: int) -> None:
    for side, record in job.records.items():
        record["seconds"] = dict(seconds)
        if missing and job.run.config.sampling.temperature == 0:
            some = job.asked[side]
            if job.by_looks:
                some = looks.asked_at(looks.of(job.run, job.dataset)[0], some)
            record["drawn_again"] = generate_again(job.run, side, job.engine, some)


def reuse_baseline(run: Run, decided_by: dict, wanted: list[Request], quiet: bool) -> bool:
    """Journal a baseline that an earlier run has drawn, where this run has none yet."""
    if run.completions(BASE):
        return False
    kept = cached_baselines.fetch(decided_by, wanted)
    if kept is None:
        return False
    with Journal(run.path / BASE / "completions.jsonl") as journal:
        journal.append(kept)
    progress.note(f"{BASE}: {len(kept)} replies from the cache of baselines", quiet)
    return True


def prove_adapter(
    config: Configuration, adapter: str, engine: Engine, wanted: list[Request], quiet: bool
) -> dict | None:
    """What the adapter changes on the first prompts; a UserError with the likeliest reason where that is nothing."""
    effect = engine.adapter_effect([request for request in wanted if request.index == 0][:PROBES])
    if effect is None:
        return None
    if not effect.acts:
        served = config.engine == SERVER
        why = "is it served by that name?" if served else adapters.why_inert(adapter, config.checkpoint)
        raise UserError(f"--adapter {adapter}: changes nothing that {config.checkpoint} says: {why}")
    if effect.leaks:
        raise UserError(
            f"--adapter {adapter}: this engine gives it to the base's replies too where both share a batch (vLLM's CPU "
            "build does, unless it is started with max_loras=2): measure the two by `harness eval` one after the other"
        )
    progress.note(f"the adapter acts ({effect.evidence} differ by up to {effect.difference:.2g})", quiet)
    return asdict(effect)


def open_engine(config: Configuration, adapter: str | None) -> Engine:
    """The configured engine, its model not loaded yet."""
    engine = registry.load("engine", engine_name(config.engine), ENGINES)
    weights, _ = evaluation_weights(config)
    return engine(
        Setup(
            config.checkpoint,
            adapter,
            config.engine_args,
            config.seed,
            config.chat_template,
            config.trust_remote_code,
            weights,
            config.chat_template_kwargs,
        )
    )


def draw(
    run: Run,
    engine: Engine,
    wanted: Mapping[str, Sequence[Request]],
    done: AbstractSet[tuple[bool, str, int]],
    quiet: bool,
    watch: Watch,
) -> None:
    """Journal every reply whose request's key is not in `done`, as soon as it is finished."""
    asked = [request for side in wanted for request in wanted[side]]
    started, tokens = time.monotonic(), 0
    with ExitStack() as open_files:
        journals = {
            side != BASE: open_files.enter_context(Journal(run.path / side / "completions.jsonl")) for side in wanted
        }
        there = sum(request.key in done for request in asked)
        bar = open_files.enter_context(progress.bar(" and ".join(wanted), len(asked), there, quiet))
        for finished in engine.generate(asked, done, run.config.sampling):
            for adapted, journal in journals.items():
                journal.append([completion for request, completion in finished if request.adapted == adapted])
            tokens += sum(completion.n_tokens for _, completion in finished)
            bar.advance(len(finished), f"{tokens / (time.monotonic() - started):,.0f} tokens/s")
            for _, completion in finished if watch else ():
                watch(completion)


def unasked(run: Run, side: str, quiet: bool) -> int:
    """How many replies of a side are missing because their question fills the model's context; a UserError where all
    are."""
    replies = run.completions(side)
    count = sum(each.is_unasked for each in replies)
    if count == len(replies):
        raise UserError(
            f"{run.config.checkpoint}: every question is longer than its context: give a model that reads more"
        )
    if count:
        progress.note(f"{side}: {count} of {len(replies)} replies are left unscored: {NO_ROOM}", quiet)
    return count


def generate_again(run: Run, side: str, engine: Engine, wanted: list[Request]) -> dict[str, int]:
    """How many of a few greedy replies come out otherwise when they are drawn a second time."""
    few = sorted(wanted, key=lambda request: len(request.prompt))[:DRAWN_AGAIN]
    done = {request.key for request in wanted} - {request.key for request in few}
    texts = {completion.place: completion.text for completion in run.completions(side)}
    again = [reply for batch in engine.generate(wanted, done, run.config.sampling) for _, reply in batch]
    return {"replies": len(again), "differ": sum(reply.text != texts[reply.place] for reply in again)}


def _done(run: Run, side: str, wanted: list[Request]) -> list[Request]:
    """The requests of a side that its journal answers; a UserError where it answers others."""
    asked = {request.place: request for request in wanted}
    replies = run.completions(side)
    if any(each.place not in asked or asked[each.place].prompt_sha != each.prompt_sha for each in replies):
        path = run.path / side / "completions.jsonl"
        raise UserError(f"{path}: its prompts are not this run's (was the data edited?): start with --fresh")
    return [asked[each.place] for each in replies]


def score(run: Run, side: str, quiet: bool, graded: Sequence[Score] = ()) -> None:
    """Score a side's stored replies (again), no model loaded; writes scores.jsonl and metrics.json.

    `graded` are the scores that are there already.
    """
    config, completions = run.config, run.completions(side)
    known = {each.place: each for each in graded}
    missing = [each for each in completions if each.place not in known]
    equality = run.record.provenance.get(side, {}).get("equality")
    if equality is None:
        raise UserError(f"{run.path / 'run.json'}: says not how answers of {side} compare: run again with --fresh")
    with progress.bar(f"{side} scores", len(completions), len(known), quiet) as bar:
        for start in range(0, len(missing), SCORED_AT_ONCE):
            chunk = missing[start : start + SCORED_AT_ONCE]
            known |= {each.place: found for each, found in zip(chunk, score_all(chunk, config, equality), strict=True)}
            bar.advance(len(chunk))
    scores = [known[each.place] for each in completions]
    write_lines(run.path / side / "scores.jsonl", (asdict(each) for each in scores))
    write_json(run.path / side / "metrics.json", {name: asdict(each) for name, each in metrics_of(scores).items()})
    run.hashes.add(*(run.path / side / name for name in SIDE_FILES))
