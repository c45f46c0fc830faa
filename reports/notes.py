"""What a report notes about how a run was made: sentences out of its provenance."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.statistics import breakdown, headline
from harness.statistics.pairs import other_weights
from harness.storage.run_folder import Run
from harness.storage.validation import make
from harness.types import Agreement, Evaluation, definition_of, stopped_early

Provenances = Mapping[str, Mapping[str, Any]]


def warnings(run: Run, provenances: Provenances, comparison: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know before any figure; `provenances` are the sides', by name."""
    record = run.record.read()
    alone = ((side, record["configuration"], known) for side, known in provenances.items())
    said = comparison["warnings"] if comparison["metrics"] else other_weights(alone)
    health = (text for stage in ("train", "after") for text in record["provenance"].get(stage, {}).get("health", ()))
    return *_trusted(run), *said, *health


def of_sides(provenances: Provenances, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What the evaluation found out about itself, by side, and what it is about; `settings` are the run's."""
    several = any("training_seeds" in known for known in provenances.values())
    one = () if several else (headline.ABOUT_ONE_ADAPTER,)
    about = (*one, *headline.of_replies(settings)) if len(provenances) > 1 else ()
    base, *_, last = *provenances.values(), *provenances.values()
    looks = (headline.of_looks(stopped),) if (stopped := stopped_early(last)) else ()
    data = dict.fromkeys(note for known in provenances.values() for note in known.get("data_notes", ()))
    each = (note for side, known in provenances.items() for note in _of_side(side, known))
    near = _near_copies("GRPO", last) if several else ()
    return *about, *looks, *near, *_quantized_checkpoint(base.get("checkpoint") or {}), *data, *each


def of_finished(sides: Sequence[Evaluation]) -> Iterator[str]:
    """How often the replies that were not cut off are right, of each side where some were."""
    for side in sides:
        if among := breakdown.among_finished(side):
            shares = [f"{name} is {definition_of(name).show(part.before)}" for name, part in among.items()]
            whole = max(part.n for part in among.values())
            yield f"{side.name}: among the {whole} replies that were not cut off at the limit {' and '.join(shares)}."


def of_training(run: Run, replaced: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What the stages left out, and what the machine had put in place of the recipe's, by stage and key."""
    config, provenance = run.config, run.record.provenance
    warm_up, train = provenance.get("warm-up", {}), provenance.get("train", {})
    if warm_up.keys() >= {"solutions", "too_long_solutions", "evaluated_solutions"}:
        yield (
            f"SFT warm-up on {warm_up['solutions']} worked solutions; {warm_up['too_long_solutions']} longer than half "
            f"of max_sequence and {warm_up['evaluated_solutions']} that the run evaluates were left out."
        )
        yield from _near_copies("SFT", warm_up)
    if changed := warm_up.get("rewritten_solutions"):
        yield (
            f"The chat template changes an answered turn (it drops or moves the reasoning), so {changed} lessons of "
            "SFT are prompt, solution and end of turn, put together without it."
        )
    if train.keys() >= {"prompts", "max_prompt", "too_long_prompts", "max_completion"}:
        yield (
            f"GRPO on {train['prompts']} prompts of at most {train['max_prompt']} tokens, {train['too_long_prompts']} "
            f"longer ones and {train.get('evaluated_prompts', 0)} that the run evaluates left out; completions of at "
            f"most {train['max_completion']} tokens."
        )
        yield from _near_copies("GRPO", train)
    variant = "" if config.has_own_rewards else f", in their {config.variant} variant"
    yield f"GRPO is paid by the rewards {Path(config.rewards).name}{variant}."
    for stage, settings in replaced.items():
        for key, why in settings.items():
            yield f"Replaced in {stage}: {key} {why}."


def _trusted(run: Run) -> Iterator[str]:
    if run.config.trust_remote_code:
        yield f"Python code that {run.config.checkpoint} brings along was run (--trust-remote-code)."


def _of_side(side: str, known: Mapping[str, Any]) -> Iterator[str]:
    if effect := known.get("adapter_effect"):
        weaker = " (weaker evidence: the server gives no log-probabilities)" if "greedy" in effect["evidence"] else ""
        yield (
            f"The adapter acts: with it the {effect['evidence']} of {effect['prompts']} probes differ by up to "
            f"{effect['difference']:.2g}, those of the base asked twice by {effect['noise']:.2g}{weaker}."
        )
    if decided := known.get("server_decides"):
        yield f"{side}: {known['server_program']} takes no {decided}: its own settings of these are in force."
    yield from _agreement(known.get("agreement") or {"compared": [], "not_compared": {}})
    if known.get("cached"):
        yield f"{side}: an earlier run of the same model, prompts, sampling and versions drew the replies."
    if known.get("unasked"):
        yield f"{side}: {known['unasked']} replies are unscored: the question fills the model's context."
    if known.get("system_prompt"):
        yield f"{side}: the chat template has no system role; a system prompt opened the user's turn."
    for pace in known.get("earlier_paces", ()):
        how = ", ".join(f"{key} = {value}" for key, value in pace["arguments"].items())
        yield f"{side}: {pace['replies']} of the replies were drawn with {how}, before that was changed."
    if again := known.get("drawn_again"):
        yield f"{side}: {again['differ']} of {again['replies']} greedy replies differ when drawn again."


def _near_copies(stage: str, provenance: dict) -> Iterator[str]:
    """What of the evaluated problems the training has nearly seen, with the nearest as examples."""
    found = provenance.get("near_copies")
    if found is None:
        return
    yield (
        f"{found['count']} of the {found['evaluated']} evaluated problems are nearly in what {stage} trains on: at "
        "least half of their 8-grams of words, numbers aside, stand there. They are not left out."
    )
    for each in found["examples"]:
        yield f"{each['share']:.0%}: “{each['evaluated']}” is evaluated, “{each['trained']}” is trained on."


def _quantized_checkpoint(checkpoint: dict[str, str]) -> Iterator[str]:
    """Which GGUF file the model came out of."""
    if "quantization" in checkpoint:
        file, sha = next(iter(checkpoint.items()))
        yield f"Checkpoint: {file} ({checkpoint['quantization']}, SHA-256 {sha}), dequantized."


def _agreement(agreement: dict) -> Iterator[str]:
    """How far the training's engines and the one that measured are apart on fixed texts."""
    for found in (make(Agreement, each) for each in agreement["compared"]):
        first, second = found.engines
        weak = "" if found.says_something else "; the adapter is too weak to show a difference there"
        yield (
            f"The {first} and {second} score fixed texts alike: {found.base:.2g} nats a token apart for the base, "
            f"{found.adapter:.2g} with the adapter, which moves them by {found.effect:.2g}{weak}."
        )
    for engine, why in agreement["not_compared"].items():
        yield f"Not compared on fixed texts: {engine} ({why})."
