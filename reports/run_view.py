"""A run's report as plain values: read from the run folder, formatted once for the page and the Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.findings import stopped_early
from harness.metric_definitions import MetricDefinition, definition_of
from harness.stages import REPORT, title_of
from harness.statistics import breakdown, headline
from harness.statistics.breakdown import Part, RewardSeparation
from harness.statistics.gain import Gain, gain
from harness.statistics.metric_rows import MetricRow, all_rows, mean_and_interval, row_of
from harness.storage import validation
from harness.storage.run_folder import Run
from harness.storage.schema import EffectiveConfig, ExtraTaskMeans
from harness.types import ACCURACY_STRICT, DESCRIBED, Difference, Evaluation, MetricValue, from_row
from reports import explorer, first_screen, notes, seed_view, training_view
from reports.explorer import Explorer
from reports.rows import HEADLINE, sentence
from reports.seed_view import Seeds
from reports.training_view import Training

NO_COMPARISON = {"metrics": {}, "flips": {}, "languages": {}, "samples": 0, "warnings": (), "others": ()}
REPORT_AGAIN = "delete it, then run `harness report` again"
TRAINING_TITLE = "Training as the trainer ran it"
PARAMETERS = ("trainer", "parameters", "trainable_parameters")
EFFECTIVE = (
    "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "num_generations",
    "max_completion_length", "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "beta", "loss_type",
    "use_bias_correction_kl", "scale_rewards", "mask_truncated_completions", "epsilon", "epsilon_high", "temperature",
    "seed", "bf16", "fp16", "use_vllm", "vllm_mode", "vllm_importance_sampling_correction", "num_train_epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Also:
    """Extra tasks of lm-eval: a row per metric by task, how many documents have no partner on the other side, and why
    some metrics are not compared."""

    tasks: dict[str, tuple[MetricRow, ...]]
    left_out: int
    unpaired: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Everything that a run's report shows."""

    title: str
    lines: tuple[str, ...]
    marks: tuple[str, ...]
    measured: dict[str, str]
    about: tuple[str, ...]
    verdict: str
    verdicts_by: str
    p_named: str
    rows: tuple[MetricRow, ...]
    differences: dict[str, Difference]
    parts: dict[str, tuple[Part, ...]]
    by_language: dict[str, tuple[Part, ...]]
    gain: Gain | None
    rewards: tuple[RewardSeparation, ...]
    rewards_named: str
    flips: dict[str, int]
    flips_of: str
    languages: dict[str, dict[str, int]]
    language_note: str
    samples: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    steps: dict[str, tuple[MetricRow, ...]]
    also: Also | None
    training: Training | None
    seeds: Seeds | None
    facts: dict[str, dict[str, Any]]
    sides: tuple[Evaluation, ...]
    explorer: Explorer
    command: str

    @property
    def first(self) -> str:
        return self.sides[0].name

    @property
    def sections(self) -> dict[str, str]:
        """The titles in the page's contents bar, by anchor: of the sections that this run has."""
        titles = {
            "recipe": (self.seeds, "Recipe"),
            "changed": (True, "What changed" if len(self.sides) > 1 else "What was measured"),
            "where": (self.parts, "Where"),
            "why": (True, "Why"),
            "else": (self.also, "Anything else"),
            "stages": (self.steps, "Stages"),
            "replies-list": (True, "Replies"),
            "training": (self.training, "Training"),
            "run": (True, "How it was run"),
        }
        return {anchor: title for anchor, (has_it, title) in titles.items() if has_it}

    @property
    def has_several_languages(self) -> bool:
        """Whether a chart of the languages would have more than one bar a side."""
        return len({language for side in self.languages.values() for language in side}) > 1

    @property
    def last(self) -> str:
        return self.sides[-1].name


def build(run: Run, sides: Sequence[Evaluation]) -> View:
    """The view of a stored run's sides, one or more."""
    record = run.record.read()
    comparison = run.comparison() if len(sides) > 1 else NO_COMPARISON
    differences = {name: from_row(Difference, each) for name, each in comparison["metrics"].items()}
    rows = tuple(all_rows([side.metrics for side in sides], [record["configuration"]], differences).values())
    config, provenances = run.config, {side.name: side.provenance for side in sides}
    split = gain(sides[0], sides[-1]) if len(sides) > 1 else None
    primary, stopped = config.primary or ACCURACY_STRICT, stopped_early(sides[-1].provenance)
    return View(
        title=f"{config.name}: {config.dataset}, {config.format}",
        lines=headline.lines(differences, split.as_shares() if split else None)
        if differences
        else headline.lines_of_one(sides[0].metrics),
        marks=first_screen.marks(differences),
        measured=first_screen.measured(run, sides),
        about=first_screen.about(run, sides),
        verdict=sentence(differences[primary], primary) if differences else _standing(sides[0]),
        verdicts_by=headline.verdicts_by(config.primary, stopped),
        p_named="p (Holm)" if not config.primary else "p (looks)" if stopped else "p",
        rows=rows,
        differences=differences,
        parts=breakdown.parts(sides),
        by_language={side.name: breakdown.by_language(side) for side in sides},
        gain=split,
        rewards=breakdown.reward_separations(sides[-1]),
        rewards_named="reward" if config.has_own_rewards else f"reward ({config.variant})",
        flips=comparison["flips"],
        flips_of=headline.FLIPS_OF_PAIRS if split and split.by_problem else "",
        languages=comparison["languages"],
        language_note=_language_note(comparison, config.language) if len(sides) > 1 else "",
        samples=comparison["samples"],
        warnings=notes.warnings(run, provenances, comparison),
        notes=(*notes.of_sides(provenances, record["configuration"]), *notes.of_finished(sides)),
        steps=_steps(comparison),
        also=_also(run, sides),
        training=_training(run),
        seeds=seed_view.build(run, differences),
        facts=_facts(record, run),
        sides=tuple(sides),
        explorer=explorer.pack(sides),
        command=record["command"],
    )


def _standing(side: Evaluation) -> str:
    metric = side.metrics[ACCURACY_STRICT]
    mean = definition_of(ACCURACY_STRICT).show(metric.mean)
    return f"{mean} of {metric.n} replies are correct and in the required format."


def _steps(comparison: dict) -> dict[str, tuple[MetricRow, ...]]:
    """The headline metrics from each side to the next, where there are more than two."""
    return {
        f"{step['before']} → {step['after']}": tuple(
            row_of(name, definition_of(name), (), from_row(Difference, step["metrics"][name]))
            for name in HEADLINE
            if step["metrics"].get(name, {}).get("delta") is not None
        )
        for step in comparison["others"]
    }


def _also(run: Run, sides: Sequence[Evaluation]) -> Also | None:
    if run.config.training_seeds:
        return None  # the adapters' are on each seed's page
    files = [run.path / "also" / f"{side.name}.json" for side in sides]
    run.hashes.verify(*files)
    means = [validation.read(ExtraTaskMeans, file, REPORT_AGAIN) for file in files if file.is_file()]
    if not means:
        return None
    found = run.extra_task_differences() or means[0] | {"tasks": {}, "left_out": 0}
    tasks = {}
    for task, kinds in found["measures"].items():
        of_sides = [side["tasks"].get(task, {}) for side in means]
        differences = found["tasks"].get(task, {})
        tasks[task] = tuple(
            _extra_task_row(title, from_row(MetricDefinition, kind), of_sides, differences.get(title))
            for title, kind in kinds.items()
        )
    unpaired = tuple(
        f"{task}: {title} is not compared: {reason}."
        for task, reasons in found.get("unpaired", {}).items()
        for title, reason in reasons.items()
    )
    return Also(tasks, found["left_out"], unpaired)


def _extra_task_row(
    title: str, definition: MetricDefinition, means: Sequence[dict[str, dict]], difference: dict | None
) -> MetricRow:
    values = [from_row(MetricValue, side[title]) for side in means if title in side]
    shown = tuple(mean_and_interval(definition, value) for value in values)
    return row_of(title, definition, shown, from_row(Difference, difference) if difference else None)


def _training(run: Run) -> Training | None:
    folders = {"SFT": run.sft_folder, "GRPO": run.path / "train"}
    replaced = {stage: (_effective(folder) or {"replaced": {}})["replaced"] for stage, folder in folders.items()}
    return training_view.build(run, notes.of_training(run, replaced), REPORT_AGAIN)


def _effective(folder: Path) -> dict[str, Any] | None:
    """The settings that a trainer recorded when it ended; None where it has not."""
    path = folder / "effective_config.json"
    return validation.read(EffectiveConfig, path, REPORT_AGAIN) if path.is_file() else None


def _language_note(comparison: dict, target: str) -> str:
    full = comparison["metrics"].get("language_ratio")
    if full is None:
        return "The run has no target language."
    counts, samples = comparison["languages"], comparison["samples"]
    (first, of_first), (last, of_last) = counts.items()
    note = (
        f"Of the first {samples} replies, {of_first.get(target, 0)} reason in the target language ({target}) {first} "
        f"and {of_last.get(target, 0)} {last}."
    )
    if full["delta"] is not None and full["n_pairs"] > samples:
        row = row_of("", definition_of("language_ratio"), (), from_row(Difference, full))
        verdict = "" if row.verdict == DESCRIBED else f" The verdict: {row.verdict}."
        note += (
            f" {samples} samples are too few to believe a small difference; over all {full['n_pairs']} pairs the share "
            f"is {row.pair_means[0]} {first} and {row.pair_means[1]} {last}."
        ) + verdict
    return note


def _facts(record: dict, run: Run) -> dict[str, dict[str, Any]]:
    """Settings, provenance and times, as tables of key and value."""
    facts = {"Settings": _flat(record["configuration"])}
    facts |= {f"Stage {title_of(stage)}": _flat(provenance) for stage, provenance in record["provenance"].items()}
    for title, folder in (("SFT as the trainer ran it", run.sft_folder), (TRAINING_TITLE, run.path / "train")):
        if values := _effective(folder):
            given = {key: values["arguments"].get(key) for key in EFFECTIVE if key in values["arguments"]}
            facts[title] = {key: values[key] for key in PARAMETERS} | given
    seconds = {title_of(name): state["seconds"] for name, state in record["stages"].items() if name != REPORT}
    return facts | {"Seconds": seconds, "Program": {"harness": record["version"]}}


def _flat(values: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key} ")
        elif value not in (None, ""):
            flat[prefix + key] = value
    return flat
