"""Notes of a report on how its run was made: sentences from its provenance."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.findings import LEAST_CHANGED, Agreement, SameModel, same_model, stopped_early
from harness.metric_definitions import definition_of
from harness.statistics import breakdown, headline
from harness.statistics.pairs import changed_models, other_weights
from harness.storage.run_folder import Run
from harness.storage.validation import make
from harness.types import Evaluation

Provenances = Mapping[str, Mapping[str, Any]]


def warnings(run: Run, provenances: Provenances, comparison: Mapping[str, Any]) -> tuple[str, ...]:
    """Warnings, to be read before any figure; `provenances` are the sides', by name."""
    record = run.record.read()
    alone = ((side, record["configuration"], known) for side, known in provenances.items())
    of_one = (*changed_models(provenances.items()), *other_weights(alone))
    compared = comparison["warnings"] if comparison["metrics"] else of_one
    health = (text for stage in ("train", "after") for text in record["provenance"].get(stage, {}).get("health", ()))
    return *_trusted(run), *compared, *health


def of_sides(provenances: Provenances, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What each side's evaluation recorded, and what the figures are about; `settings` are the run's."""
    several = settings.get("training_seeds") is not None
    one = () if several else (headline.ABOUT_ONE_ADAPTER,)
    about = (*one, *headline.of_replies(settings)) if len(provenances) > 1 else ()
    base, *_, last = *provenances.values(), *provenances.values()
    looks = (headline.of_looks(stopped),) if (stopped := stopped_early(last)) else ()
    data = dict.fromkeys(note for known in provenances.values() for note in known.get("data_notes", ()))
    each = (note for side, known in provenances.items() for note in _of_side(side, known))
    near = _near_copies("GRPO", last) if several else ()
    return *about, *looks, *near, *_quantized_checkpoint(base.get("checkpoint") or {}), *data, *each


def of_finished(sides: Sequence[Evaluation]) -> Iterator[str]:
    """The accuracy among the replies that were not cut off, of each side where some were."""
    for side in sides:
        if among := breakdown.among_finished(side):
            shares = [f"{name} {definition_of(name).show(part.before)}" for name, part in among.items()]
            whole = max(part.n for part in among.values())
            yield f"{side.name}: among the {whole} replies that were not cut off at the limit: {', '.join(shares)}."


def of_training(run: Run, replaced: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What the training stages left out, and the settings that were replaced, by stage and key."""
    config, provenance = run.config, run.record.provenance
    warm_up, train = provenance.get("warm-up", {}), provenance.get("train", {})
    if trainer := train.get("trained_by"):
        yield (
            f"Trained by a program of its own ({trainer}), on its own data and rewards; before is the model as that "
            "training found it."
        )
        yield from _near_copies(trainer.removesuffix("Config"), train)
        return
    if warm_up.keys() >= {"solutions", "too_long_solutions", "evaluated_solutions"}:
        yield (
            f"SFT on {warm_up['solutions']} worked solutions; {warm_up['too_long_solutions']} longer than half "
            f"of max_sequence and {warm_up['evaluated_solutions']} that the run evaluates were left out."
        )
        yield from _near_copies("SFT", warm_up)
    if changed := warm_up.get("rewritten_solutions"):
        yield (
            f"The chat template changes an assistant's turn (it drops or moves the reasoning), so {changed} examples "
            "of SFT are prompt, solution and end of turn, put together without it."
        )
    if train.keys() >= {"prompts", "max_prompt", "too_long_prompts", "max_completion"}:
        yield (
            f"GRPO on {train['prompts']} prompts of at most {train['max_prompt']} tokens, {train['too_long_prompts']} "
            f"longer ones and {train.get('evaluated_prompts', 0)} that the run evaluates left out; completions of at "
            f"most {train['max_completion']} tokens."
        )
        yield from _near_copies("GRPO", train)
    variant = "" if config.has_own_rewards else f", in their {config.variant} variant"
    yield f"GRPO trains on the rewards {Path(config.rewards).name}{variant}."
    for stage, settings in replaced.items():
        for key, why in settings.items():
            yield f"Replaced in {stage}: {key} {why}."


def _trusted(run: Run) -> Iterator[str]:
    if run.config.trust_remote_code:
        yield f"Python code that {run.config.checkpoint} brings along was run (--trust-remote-code)."


def _of_side(side: str, provenance: Mapping[str, Any]) -> Iterator[str]:
    if effect := provenance.get("adapter_effect"):
        weaker = " (weaker evidence: the server gives no log-probabilities)" if "greedy" in effect["evidence"] else ""
        yield (
            f"Check passed: the adapter changes the model's output: with it the {effect['evidence']} of "
            f"{effect['prompts']} probes differ by up to {effect['difference']:.2g}, between two passes of the base by "
            f"{effect['noise']:.2g}{weaker}."
        )
    if decided := provenance.get("server_decides"):
        yield f"{side}: {provenance['server_program']} takes no {decided}: it uses its own settings of these."
    if same := same_model(provenance):
        yield from _same_model(side, same)
    yield from _agreement(provenance.get("agreement") or {"compared": [], "not_compared": {}})
    if replicas := provenance.get("data_parallel_size"):
        yield f"{side}: {replicas} replicas of the model generated the replies, side by side."
    if loading := provenance.get("loading"):
        yield f"{side}: {loading}."
    if (kept := provenance.get("engine_args", {}).get("kv_cache_dtype", "auto")) != "auto":
        yield f"{side}: keys and values were kept as {kept}, less precisely than the model computes them."
    if provenance.get("cached"):
        yield f"{side}: the replies were generated by an earlier run of the same model, prompts, sampling and versions."
    if provenance.get("unasked"):
        yield f"{side}: {provenance['unasked']} replies are unscored: the question fills the model's context."
    if provenance.get("system_prompt"):
        yield f"{side}: the chat template has no system role; a system prompt opened the user's turn."
    for earlier in provenance.get("earlier_paces", ()):
        how = ", ".join(f"{key} = {value}" for key, value in earlier["arguments"].items())
        yield f"{side}: {earlier['replies']} of the replies were generated with {how}, before that was changed."
    if again := provenance.get("drawn_again"):
        yield f"{side}: {again['differ']} of {again['replies']} greedy replies differ when generated again."


def _same_model(side: str, same: SameModel) -> Iterator[str]:
    """Whether a server kept its model, as far as its answers to fixed questions tell."""
    if same.steady < LEAST_CHANGED:
        yield (
            f"{side}: whether the server kept its model is not known: it answered {same.steady} of "
            f"{len(same.answers)} fixed questions twice alike."
        )
    elif same.changed is not None and not same.is_another:
        yield (
            f"{side}: {same.steady} fixed questions were asked before the first reply and after the last one: "
            f"{same.changed} of the answers changed."
        )
    if len(same.configurations) > 1:
        yield f"{side}: the server named {len(same.configurations)} configurations of its own (system_fingerprint)."


def _near_copies(stage: str, provenance: dict) -> Iterator[str]:
    """How many evaluated problems are nearly in the training data, with the nearest as examples."""
    found = provenance.get("near_copies")
    if found is None:
        return
    yield (
        f"{found['count']} of the {found['evaluated']} evaluated problems are nearly in the training data of "
        f"{stage}: at least half of their 8-grams of words, numbers aside, stand there. They are not left out."
    )
    for each in found["examples"]:
        yield f"{each['share']:.0%}: “{each['evaluated']}” is evaluated, “{each['trained']}” is in the training data."


def _quantized_checkpoint(checkpoint: dict[str, str]) -> Iterator[str]:
    """Which GGUF file the model came out of."""
    if "quantization" in checkpoint:
        file, sha = next(iter(checkpoint.items()))
        yield f"Checkpoint: {file} ({checkpoint['quantization']}, SHA-256 {sha}), dequantized."


def _agreement(agreement: dict) -> Iterator[str]:
    """How far the engines of training and evaluation differ on fixed texts."""
    for found in (make(Agreement, each) for each in agreement["compared"]):
        first, second = found.engines
        weak = "" if found.is_conclusive else "; the adapter is too weak to show a difference there"
        yield (
            f"The {first} and {second} agree on fixed texts: {found.base:.2g} nats per token apart for the base, "
            f"{found.adapter:.2g} with the adapter, which changes them by {found.effect:.2g}{weak}."
        )
    for engine, why in agreement["not_compared"].items():
        yield f"Not compared on fixed texts: {engine} ({why})."
