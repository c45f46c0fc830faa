"""The evaluation of one or two sides of a run: problems -> prompts -> completions -> scores -> metrics."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from harness import registry
from harness.config import Configuration
from harness.console import progress
from harness.data import datasets
from harness.engines import ENGINES, WITHOUT_CHECKPOINT, Engine, OnCompletion, Setup, agreement, engine_name, gpus
from harness.engines.base_weights import evaluation_weights
from harness.engines.replicas import ReplicatedEngine, started
from harness.evaluation import cached_baselines, generation, looks, provenance, same_model, scoring
from harness.evaluation.adapter_checks import check_adapter
from harness.evaluation.generation import Job, timed
from harness.evaluation.prompts import SYSTEM_MOVED, requests, system_text
from harness.evaluation.score_side import score_side
from harness.parsing import language
from harness.stages import BASE
from harness.storage.run_folder import Run
from harness.types import Completion, Dataset, Request, Score

# An engine on a CPU and the next stage's imports keep two cores busy: loading langid's model beside them made the
# default run a second longer.
BUSY_CORES = 2


def evaluate(
    run: Run,
    sides: Sequence[str],
    adapter: str | None,
    quiet: bool,
    on_completion: OnCompletion | None,
    engine: Engine | None = None,
) -> None:
    """Generate what is missing of the sides' completions with one engine, then score them.

    `on_completion` is called with every new completion; `engine` None is the configured one.
    """
    # Loads a user's file of rewards, so that one that was edited is refused before anything is generated.
    scoring.reward_names(run.config)
    problems = datasets.evaluation_problems(run.config)
    with ExitStack() as stages:
        records = {side: stages.enter_context(run.record.stage(side)) for side in sides}
        job = _with_prompts(run, problems, records, adapter, quiet, engine)
        with ThreadPoolExecutor(1) as beside:
            if (os.cpu_count() or 1) > BUSY_CORES:
                beside.submit(language.prepare)
            _load_and_check(job)
        completions, scores = _completions(job, on_completion)
        for side in sides:
            records[side]["unasked"] = generation.count_unasked(run, side, completions[side], quiet)
            score_side(run, side, completions[side], quiet, scores.get(side, ()))


def open_engine(config: Configuration, adapter: str | None) -> Engine:
    """The configured engine in this process, its model not loaded yet."""
    return registry.load("engine", engine_name(config.engine), ENGINES)(_setup(config, adapter))


def _setup(config: Configuration, adapter: str | None) -> Setup:
    weights, _ = evaluation_weights(config)
    return Setup(
        config.checkpoint,
        adapter,
        {name: value for name, value in config.engine_args.items() if name != gpus.REPLICAS},
        config.seed,
        config.chat_template,
        config.trust_remote_code,
        weights,
        config.chat_template_kwargs,
    )


def open_on_all_gpus(
    config: Configuration, adapter: str | None, problems: Dataset, sides: Sequence[str], log: Path
) -> Engine:
    """The configured engine, or its replicas where they are configured or the machine has the GPUs for them.

    What the replicas' libraries print goes into `log`.
    """
    name, replicas = engine_name(config.engine), []
    if name not in WITHOUT_CHECKPOINT:
        replies = len(problems.problems) * sum(config.samples_of(adapted=side != BASE) for side in sides)
        shared_out = config.rollouts == "server"
        places = gpus.places(name, config.engine_args, replies, shared_out)[: len(problems.problems)]
        if len(places) > 1:
            with progress.libraries_into(log):
                replicas = started(name, _setup(config, adapter), places)
    engine = open_engine(config, adapter)
    return ReplicatedEngine(engine, replicas) if replicas else engine


def _log(run: Run, sides: Sequence[str]) -> Path:
    return run.path / sides[-1] / "engine.log"


def _with_prompts(
    run: Run,
    problems: Dataset,
    records: dict[str, dict],
    adapter: str | None,
    quiet: bool,
    engine: Engine | None,
) -> Job:
    """Render the prompts, record what the completions depend on, and find the completions that are there already."""
    config = run.config
    with ThreadPoolExecutor(1) as beside:
        # Gigabytes are hashed while the engine's library is imported.
        hashing = beside.submit(provenance.fingerprint, config)
        engine = engine or open_on_all_gpus(config, adapter, problems, [*records], _log(run, [*records]))
        prompts = {side: requests(config, problems, engine, adapted=side != BASE) for side in records}
        job = Job(run, problems, engine, adapter, prompts, records, quiet)
        _announce(job)
        _record_inputs(job, hashing.result())
    if job.baseline_key and generation.reuse_baseline(job):
        records[BASE]["cached"] = True
        run.record.set_provenance(BASE, records[BASE])
    job.done = generation.journalled(job)
    return job


def _announce(job: Job) -> None:
    """Name the sides, the engine and the model, and note what was decided on the way."""
    config, engine, sides = job.run.config, job.engine.provenance, " and ".join(job.sides)
    model = f"{engine.get('model', config.checkpoint)}{' with its adapter' if job.adapter else ''}"
    progress.note(f"{sides}: {engine_name(config.engine)} engine{gpus.in_words(engine)}, {model}", job.quiet)
    for key, why in provenance.replaced(config).items():
        progress.note(f"{sides}: {key} {why}", job.quiet)
    if engine.get("system_prompt") and system_text(config):
        progress.note(SYSTEM_MOVED, job.quiet)
    for note in job.problems.notes:
        progress.note(note, job.quiet)


def _record_inputs(job: Job, fingerprint: dict[str, str] | None) -> None:
    """Record what each side's completions depend on, and the key under which a baseline may be cached.

    Raises UserError if a side has completions that depend on something else.
    """
    run, config, replaced = job.run, job.run.config, provenance.replaced(job.run.config)
    earlier, problems = run.record.provenance, provenance.dataset_record(job.problems)
    inputs = {"dataset_sha": problems["dataset_sha"], "checkpoint": fingerprint}
    provenance.refuse_changed_inputs(run, earlier, inputs)
    for side, record in job.records.items():
        producer = provenance.producer(config, job.engine, fingerprint, job.adapter if side != BASE else None)
        record |= producer | problems | provenance.carried_over(run, side, earlier.get(side, {}), producer)
        record |= {"replaced": replaced} if replaced else {}
        run.record.set_provenance(side, record)
        if side == BASE and fingerprint:
            sampling = replace(config.sampling, n=config.samples_of(adapted=False))
            job.baseline_key = cached_baselines.key_of(producer, job.prompts[BASE], sampling)


def _load_and_check(job: Job) -> None:
    """Load the model where it is needed, and check the adapter before anything is generated with it."""
    last = job.sides[-1]
    with timed(job, "load"):
        if job.adapter or job.missing:
            with progress.libraries_into(_log(job.run, job.sides)):
                chosen = job.engine.load(job.requests, job.run.config.max_tokens)
            if chosen:
                progress.note(f"{' and '.join(job.sides)}: {chosen}", job.quiet)
                for record in job.records.values():
                    record["loading"] = chosen
    with timed(job, "probe"):
        if job.adapter:
            effect = check_adapter(job.run.config, job.adapter, job.engine, job.prompts[last], job.quiet)
            job.records[last]["adapter_effect"] = effect
            job.records[last]["agreement"] = agreement.compare_with_training(job.adapter, job.engine.score)
        same_model.check_start(job)


def _completions(
    job: Job, on_completion: OnCompletion | None
) -> tuple[dict[str, list[Completion]], dict[str, list[Score]]]:
    """Generate what is missing, record it, and cache a whole baseline.

    Returns all completions, and the scores that the looks of --stop-early computed already (none without it), by side.
    """
    with timed(job, "draw"):
        scores = _generate(job, on_completion)
    same_model.check_end(job)
    completions = {side: job.run.completions(side) for side in job.sides}
    for side, record in job.records.items():
        if job.missing and job.run.config.sampling.temperature == 0:
            record["drawn_again"] = generation.generate_again(
                job.engine, completions[side], _first_generated(job, side), job.run.config.sampling
            )
    baseline = job.records.get(BASE, {})
    # With --stop-early a side may be incomplete, and was generated in other batches.
    if job.baseline_key and not (job.stops_early or baseline["cached"] or "earlier_paces" in baseline):
        cached_baselines.keep(job.baseline_key, completions[BASE])
    return completions, scores


def _generate(job: Job, on_completion: OnCompletion | None) -> dict[str, list[Score]]:
    if not job.stops_early:
        if job.missing:
            generation.generate_missing(job, job.prompts, on_completion)
        return {}
    stopped, scores = looks.generate_until_clear(
        job.run,
        job.problems,
        job.prompts,
        lambda prompts: generation.generate_missing(job, prompts, on_completion),
        job.quiet,
    )
    for record in job.records.values():
        record |= {} if record["cached"] else {"stopped_early": asdict(stopped)}
    return scores


def _first_generated(job: Job, side: str) -> list[Request]:
    """The requests of a side that were surely generated: with --stop-early those of the first look."""
    if not job.stops_early:
        return job.prompts[side]
    first_look = looks.problems_by_look(job.run, job.problems)[0]
    return looks.requests_of(first_look, job.prompts[side])
