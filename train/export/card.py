"""The model card: the training, the evaluation before and after, and how to repeat both."""

import re
import shlex
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from harness.console.markdown import escaped, one_line
from harness.data.datasets import DATASETS
from harness.findings import stopped_early
from harness.metric_definitions import definition_of
from harness.statistics import headline
from harness.storage.run_folder import Run
from train.export import Export
from train.export.measured import ADAPTED, FILES, Measured, sentences

LIBRARIES = {"lora": "peft", "merged-16bit": "transformers", "merged-4bit": "transformers", "gguf": "gguf"}
REWARD = "reward/"
TRAINING = (
    "steps", "prompts_per_step", "generations", "learning_rate", "schedule", "beta", "loss_type", "rewards", "variant",
    "lora_rank", "lora_alpha", "seed",
)  # fmt: skip
SFT_SETTINGS = ("sft_dataset", "sft_epochs", "sft_batch", "sft_accumulation", "sft_learning_rate")
# The folders of a path that does not begin where a run was started.
PLACE = re.compile(r"(?<![^\s='\"])~?/(?:\S*/)?")


def model_card(export: Export, facts: dict[str, float], measured: Measured | None = None) -> str:
    """README.md of an export: the hub's metadata, then the same for people.

    `facts` are what writing it has shown; `measured` is of the files themselves, where they were measured.
    """
    name = one_line(export.name)
    parts = [
        f"---\n{_metadata(export, name, measured).to_yaml()}\n---",
        f"# {escaped(name)}",
        f"{_WHAT[export.to]} Base: {escaped(export.base)}, whose licence goes for this too.",
        *(f"{FACTS[key]}: {value:.1%}." for key, value in facts.items()),
        *(_measured(export, export.run, measured) if _is_measured(export.run) else [_unmeasured(export)]),
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
FACTS = {"kept_in_16_bits": "Share of what the adapter changes that is left in 16-bit weights"}


def _metadata(export: Export, name: str, measured: Measured | None) -> ModelCardData:
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
        eval_results=list(_results(export, run, measured)) if _is_measured(run) else None,
    )


def _results(export: Export, run: Run, measured: Measured | None) -> list[EvalResult]:
    """The metrics of the files themselves, or else of the side with the adapter, the rewards left out."""
    config, source = run.config, DATASETS.get(run.config.dataset)
    rounded = "" if measured or export.to == "lora" else f" (measured as {ADAPTED})"
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
        for name, metric in (measured.metrics if measured else run.metrics("after")).items()
        if metric.mean is not None and not name.startswith(REWARD)
    ]


def _measured(export: Export, run: Run, measured: Measured | None) -> list[str]:
    provenance = run.record.provenance.get("after", {})
    stopped = stopped_early(provenance)
    problems = stopped.problems if stopped else provenance.get("problems")
    facts = f"{escaped(_dataset(run))}, split {escaped(str(run.config.split))}, {problems} problems"
    how = f"{run.config.samples} replies each" if run.config.samples > 1 else "one reply each"
    text = f"Measured on {facts}, {how}, temperature {run.config.temperature}."
    text = " ".join((text, *headline.of_replies(run.record.configuration)))
    if measured:
        what = f"in {escaped(measured.file)} alone, by themselves" if measured.file else "by themselves"
        text += f" Before is the base, after {ADAPTED}; {FILES}, whose weights are rounded, were measured {what}."
    elif export.to != "lora":
        text += f" What was measured is {ADAPTED}; these files, whose weights are rounded, were not."
    return [
        "## Before and after",
        text,
        _table(run, measured),
        f"Differences are paired by problem. {headline.verdicts_by(run.config.primary, stopped)}",
        *((headline.of_looks(stopped),) if stopped else ()),
        *(_against_adapted(measured) if measured else ()),
    ]


def _table(run: Run, measured: Measured | None) -> str:
    """Every metric before and after, of the files if they were measured, and the difference of after and before."""
    head = ("metric", "before", "after", *((FILES,) if measured else ()), "difference", "95 % interval", "verdict")
    rows = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 2)}---|"]
    for name, difference in run.comparison()["metrics"].items():
        show = definition_of(name).show
        of_files = measured.metrics.get(name) if measured else None
        delta, low, high = (show(difference[key], signed=True) for key in ("delta", "low", "high"))
        cells = (
            name, show(difference["before"]), show(difference["after"]),
            *((show(of_files.mean) if of_files else "not measured",) if measured else ()),
            delta, f"{low.removesuffix(' pp')} … {high}", difference["verdict"],
        )  # fmt: skip
        rows.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    return "\n".join(rows)


def _against_adapted(measured: Measured) -> list[str]:
    lines = "\n".join(f"- {escaped(one_line(each))}" for each in sentences(measured))
    return [f"What rounding changed: {FILES} compared with {ADAPTED}, paired by problem:", lines]


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
