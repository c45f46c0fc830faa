"""The exported files measured as the run's model was evaluated, and how they compare with base + adapter."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.config import Configuration
from harness.data import datasets
from harness.engines import WITHOUT_CHECKPOINT, engine_name
from harness.errors import UserError
from harness.evaluation.provenance import dataset_sha
from harness.metric_definitions import definition_of
from harness.parsing.named_formats import FORMATS
from harness.stages import BASE, LAST
from harness.statistics import headline
from harness.statistics.compare import compare
from harness.statistics.metric_rows import UNCHANGED, is_unchanged
from harness.storage.links import real_path
from harness.storage.run_folder import Run
from harness.types import DESCRIBED, NOT_COMPARED, Comparison, Difference, MetricValue
from train.export import Export

FOLDER = "measured"
FILES, ADAPTED = "these files", "base + adapter"


@dataclass(frozen=True)
class Measured:
    """What was measured of an export: of which file (a GGUF's name, empty for a folder), and against base + adapter.

    `run` is the run folder of the measurement.
    """

    run: Path
    file: str
    metrics: dict[str, MetricValue]
    comparison: Comparison


def check(export: Export) -> None:
    """Raises UserError if the files of this export could not be measured as its run was evaluated."""
    if export.to == "lora":
        raise UserError("--measure is for merged weights: an adapter alone is what RUN has measured: leave it out")
    run = export.run
    if run is None:
        raise UserError("--measure repeats the evaluation of a RUN: give one instead of --model and --adapter")
    if not run.record.is_done(LAST):
        raise UserError(f"{run.path}: its adapter is not evaluated: finish the run, or leave --measure out")
    engine = engine_name(run.config.engine)
    if engine in WITHOUT_CHECKPOINT:
        raise UserError(f"{run.path}: was evaluated by engine '{engine}', which loads no files: leave --measure out")
    if export.to == "gguf" and find_spec("gguf") is None:
        raise UserError("--measure of GGUF files needs the package gguf: pip install gguf")
    recorded = run.record.provenance.get(LAST, {}).get("dataset_sha")
    if recorded and recorded != dataset_sha(datasets.evaluation_problems(run.config)):
        raise UserError(f"{run.path}: its dataset changed since: bring the old one back, or leave --measure out")


def model_of(folder: Path, record: dict[str, Any]) -> Path:
    """What loads as a model: the export's folder, or the first of its GGUF files."""
    quants = record["quants"]
    names = [name for name in record["files"] if quants and name.endswith(f"-{quants[0].upper()}.gguf")]
    return real_path(folder / names[0] if names else folder)


def configuration(export: Export, model: Path) -> Configuration:
    """The run's configuration for the exported model alone, which brings its own chat template.

    A run's own Python file of rewards is not run: its format's preset scores instead.
    """
    config = export.run.config
    own_rewards = {"rewards": FORMATS[config.format].rewards, "rewards_sha": ""} if config.has_own_rewards else {}
    return config.model_copy(
        update={
            "checkpoint": str(model),
            "adapter": None,
            "chat_template": "",
            "chat_template_kwargs": {},
            "trust_remote_code": export.trust,
            "weights": "4-bit" if export.to == "merged-4bit" else "16-bit",
            "eval_weights": None,
            "baseline_samples": None,
            "stop_early": False,
            "also": (),
            **own_rewards,
        }
    )


def load(export: Export, folder: Path, record: dict[str, Any]) -> Measured:
    """A finished measurement, compared with base + adapter over the problems that both have replies to."""
    model = model_of(folder, record)
    adapted = replace(export.run.evaluation(LAST), name=ADAPTED)
    files = replace(Run.open(folder / FOLDER).evaluation(BASE), name=FILES)
    return Measured(folder / FOLDER, model.name if model.is_file() else "", files.metrics, compare(adapted, files))


def sentences(measured: Measured) -> tuple[str, ...]:
    """How the files compare with base + adapter: a sentence for each metric with a verdict, then the warnings."""
    tested = {
        name: each
        for name, each in measured.comparison.metrics.items()
        if each.verdict not in (DESCRIBED, NOT_COMPARED) and each.delta is not None
    }
    texts = [_sentence(name, each) for name, each in tested.items()]
    return (*(texts or ["No reply has a partner among those of base + adapter."]), *measured.comparison.warnings)


def _sentence(name: str, difference: Difference) -> str:
    kind, about = definition_of(name), headline.ABOUT.get(name, name)
    interval = kind.interval(difference.low, difference.high, signed=True) or "not known"
    outcome = UNCHANGED if is_unchanged(kind, difference) else headline.OUTCOMES.get(difference.verdict)
    return (
        f"{about[0].upper()}{about[1:]} ({name}): {kind.show(difference.before)} with {ADAPTED}, "
        f"{kind.show(difference.after)} with {FILES} ({kind.show(difference.delta, signed=True)}, 95 % interval "
        f"{interval}, {difference.n_pairs:,} pairs): {outcome}."
    )
