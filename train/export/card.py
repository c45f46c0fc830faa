"""The model card: the training, the evaluation before and after, and how to repeat both."""

import re
import shlex
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from harness.console.markdown import escaped, one_line
from harness.data.datasets import DATASETS
from harness.metric_definitions import definition_of
from harness.statistics import headline
from harness.storage.run_folder import Run
from harness.types import stopped_early
from train.export import Export

LIBRARIES = {"lora": "peft", "merged-16bit": "transformers", "merged-4bit": "transformers", "gguf": "gguf"}
REWARD = "reward/"
TRAINING = (
    "steps", "prompts_per_step", "generations", "learning_rate", "schedule", "beta", "loss_type", "rewards", "variant",
    "lora_rank", "lora_alpha", "seed",
)  # fmt: skip
SFT_SETTINGS = ("sft_dataset", "sft_epochs", "sft_batch", "sft_accumulation", "sft_learning_rate")
# The folders of a path that does not begin where a run was started.
PLACE = re.compile(r"(?<![^\s='\"])~?/(?:\S*/)?")


def model_card(export: Export, facts: dict[str, float]) -> str:
    """README.md of an export: the hub's metadata, then the same for people. `facts` are what writing it has shown."""
    name = one_line(export.name)
    parts = [
        f"---\n{_metadata(export, name).to_yaml()}\n---",
        f"# {escaped(name)}",
        f"{_WHAT[export.to]} Base: {escaped(export.base)}, whose licence goes for this too.",
        *(f"{_FACTS[key]}: {value:.1%}." for key, value in facts.items()),
        *(_measured(export, export.run) if _is_measured(export.run) else [_unmeasured(export)]),
        *(_trained(export.run) if export.run else []),
        "Made by `harness export`.",
    ]
    return "\n\n".join(parts) + "\n"


_WHAT = {
    "lora": "A LoRA adapter.",
    "merged-16bit": "A LoRA adapter merged into its base, 16-bit weights.",
    "merged-4bit": "A LoRA adapter merged into its base, then rounded to 4 bits (bitsandbytes, nf4).",
    "gguf": "A LoRA adapter merged into its base, as GGUF files for llama.cpp and what builds on it.",
}
_FACTS = {"kept_in_16_bits": "Share of what the adapter changes that is left in 16-bit weights"}


def _metadata(export: Export, name: str) -> ModelCardData:
    run = export.run
    named = (run.config.dataset, run.config.sft_dataset) if run else ()
    addresses = [source.address for source in map(DATASETS.get, named) if source]
    return ModelCardData(
        base_model=export.hub_id,
        base_model_relation="adapter" if export.to == "lora" else "finetune",
        datasets=addresses or None,
        language=[run.config.target_language] if run and run.config.target_language else None,
        library_name=LIBRARIES[export.to],
        pipeline_tag="text-generation",
        tags=["lora", "grpo"] if run and run.record.is_done("train") else ["lora"],
        model_name=name if _is_measured(run) else None,
        eval_results=list(_results(export, run)) if _is_measured(run) else None,
    )


def _results(export: Export, run: Run) -> list[EvalResult]:
    """The metrics of the side with the adapter, the rewards left out."""
    config, source = run.config, DATASETS.get(run.config.dataset)
    rounded = "" if export.to == "lora" else " (measured as base + adapter)"
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=source.address if source else _dataset(run),
            dataset_name=_dataset(run),
            dataset_config=source.config if source else None,
            dataset_split=config.split,
            metric_type=one_line(name),
            metric_name=f"{definition_of(name).about}{rounded}",
            metric_value=round(metric.mean, 4),
        )
        for name, metric in run.metrics("after").items()
        if metric.mean is not None and not name.startswith(REWARD)
    ]


def _measured(export: Export, run: Run) -> list[str]:
    provenance = run.record.provenance.get("after", {})
    stopped = stopped_early(provenance)
    problems = stopped.problems if stopped else provenance.get("problems")
    facts = f"{escaped(_dataset(run))}, split {escaped(str(run.config.split))}, {problems} problems"
    how = f"{run.config.samples} replies each" if run.config.samples > 1 else "one reply each"
    text = f"Measured on {facts}, {how}, temperature {run.config.temperature}."
    text = " ".join((text, *headline.of_replies(run.record.configuration)))
    if export.to != "lora":
        text += " What was measured is base + adapter; these files, whose weights are rounded, were not."
    head = "| metric | before | after | difference | 95 % interval | verdict |\n|---|---:|---:|---:|---:|---|"
    rows = run.comparison()["metrics"].items()
    table = "\n".join([head, *(_row(name, difference) for name, difference in rows)])
    return [
        "## Before and after",
        text,
        table,
        f"Differences are paired by problem. {headline.verdicts_by(run.config.primary, stopped)}",
        *((headline.of_looks(stopped),) if stopped else ()),
    ]


def _row(name: str, difference: dict) -> str:
    show = definition_of(name).show
    delta, low, high = (show(difference[key], signed=True) for key in ("delta", "low", "high"))
    cells = (
        name, show(difference["before"]), show(difference["after"]), delta,
        f"{low.removesuffix(' pp')} … {high}", difference["verdict"],
    )  # fmt: skip
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"


def _unmeasured(export: Export) -> str:
    command = shlex.join(["harness", "run", "--model", export.hub_id or "BASE", "--adapter", "ADAPTER"])
    return f"What the adapter changes was not measured. This measures it:\n\n    {one_line(command)}"


def _trained(run: Run) -> list[str]:
    config = run.config.model_dump(mode="json")
    keys = ("format", *(SFT_SETTINGS if run.config.trains_sft else ()), *TRAINING)
    settings = [f"- {key}: {escaped(PLACE.sub('', str(config[key])))}" for key in keys]
    trained = ["## Training", "\n".join(settings)] if run.record.is_done("train") else []
    return [*trained, f"The command that repeats it:\n\n    {one_line(PLACE.sub('', run.record.command))}"]


def _is_measured(run: Run | None) -> bool:
    return run is not None and run.record.is_done("before+after") and (run.path / "comparison.json").is_file()


def _dataset(run: Run) -> str:
    """A dataset's name, or that of its file without the path."""
    return one_line(Path(run.config.dataset).name)
