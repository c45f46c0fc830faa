"""What a report says, as plain values: read from the run folder, formatted once for the page and the Markdown."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.store import SIDES, Run, read_journal, read_json
from harness.types import Completion, Evaluation, Score, measure

HEADLINE = ("accuracy_strict", "format_strict", "accuracy_flexible", "language_ratio")
FLIP_ORDER = ("gained", "lost", "both", "neither")
FLIP_TITLES = {
    "gained": "Gained: wrong before, right after",
    "lost": "Lost: right before, wrong after",
    "both": "Right on both sides",
    "neither": "Wrong on both sides",
}
EXAMPLES_A_FLIP = 5
TRAINING_TITLE = "Training as the trainer ran it"
PARAMETERS = ("trainer", "parameters", "trainable_parameters")
EFFECTIVE = (
    "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "num_generations",
    "max_completion_length", "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "beta", "loss_type",
    "temperature", "seed", "bf16", "use_vllm", "vllm_mode", "num_train_epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One metric as the table shows it."""

    name: str
    about: str
    sides: tuple[tuple[str, str], ...]
    delta: str = ""
    interval: str = ""
    p: str = ""
    verdict: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Example:
    """One problem with the replies of both sides."""

    question: str
    answer: str | None
    sides: tuple[tuple[str, Completion, Score], ...]


@dataclass(frozen=True)
class Training:
    """What is kept of a GRPO stage: rows of its log and probes, and rollouts of a few steps, by step."""

    log: tuple[dict, ...]
    probes: tuple[dict, ...]
    rollouts: dict[int, tuple[dict, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Everything that a report shows."""

    title: str
    verdict: str
    headline: tuple[Row, ...]
    rows: tuple[Row, ...]
    flips: dict[str, int]
    examples: dict[str, tuple[Example, ...]]
    languages: dict[str, dict[str, int]]
    language_note: str
    samples: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    steps: dict[str, tuple[Row, ...]]
    training: Training | None
    facts: dict[str, dict[str, Any]]
    sides: dict[str, Evaluation]
    command: str

    def example_title(self, flip: str) -> str:
        """The heading over the examples of one flip; with one side, both and neither are right and wrong."""
        if len(self.sides) == 1:
            return {"both": "Right in the layout", "neither": "Wrong, or out of layout"}[flip]
        return FLIP_TITLES[flip]


def build(run: Run) -> View:
    """The view of a stored run, with one side or both."""
    record = run.record
    sides = {side: run.evaluation(side) for side in SIDES if run.is_done(side)}
    comparison = read_json(run.path / "comparison.json") if len(sides) > 1 else None
    rows = tuple(_row(name, sides, comparison) for name in next(iter(sides.values())).metrics)
    config = record["configuration"]
    return View(
        title=f"{config['name']} on {config['dataset']}, {config['format']}",
        verdict=_verdict(sides, comparison),
        headline=tuple(row for name in HEADLINE for row in rows if row.name == name),
        rows=rows,
        flips=comparison["flips"] if comparison else {},
        examples=_examples(sides),
        languages=comparison["languages"] if comparison else {},
        language_note=_language_note(comparison, config["language"]) if comparison else "",
        samples=comparison["samples"] if comparison else 0,
        warnings=(
            *(comparison["warnings"] if comparison else ()),
            *record["provenance"].get("train", {}).get("health", ()),
        ),
        notes=tuple(_notes(sides)),
        steps=_steps(comparison) if comparison else {},
        training=_training(run, record),
        facts=_facts(record, run),
        sides=sides,
        command=record["command"],
    )


def _row(name: str, sides: dict[str, Evaluation], comparison: dict | None) -> Row:
    kind = measure(name)
    shown = []
    for side, evaluation in sides.items():
        metric = evaluation.metrics[name]
        interval = f"{kind.show(metric.low)} … {kind.show(metric.high)}" if metric.low is not None else ""
        left_out = f", {metric.unscored} unscored" if metric.unscored else ""
        shown.append((kind.show(metric.mean), f"{interval}{left_out}" or side))
    difference = comparison["metrics"].get(name) if comparison else None
    if difference is None or difference["delta"] is None:
        return Row(name, kind.about, tuple(shown))
    return _compared(name, tuple(shown), difference)


def _compared(name: str, shown: tuple[tuple[str, str], ...], difference: dict) -> Row:
    kind = measure(name)
    low, high = (kind.show(difference[end], signed=True) for end in ("low", "high"))
    return Row(
        name,
        kind.about,
        shown,
        delta=kind.show(difference["delta"], signed=True),
        interval=f"{low.removesuffix(' pp')} … {high}",
        p=f"= {difference['p_adjusted']:.3f}" if difference["p_adjusted"] >= 0.001 else "< 0.001",
        verdict=difference["verdict"],
        mark={"better": "good", "worse": "bad"}.get(difference["verdict"], "none"),
    )


def _steps(comparison: dict) -> dict[str, tuple[Row, ...]]:
    """The headline metrics from each side to the next, where there are more than two."""
    return {
        f"{step['before']} → {step['after']}": tuple(
            _compared(name, (), step["metrics"][name])
            for name in HEADLINE
            if step["metrics"].get(name, {}).get("delta") is not None
        )
        for step in comparison["others"]
    }


def _training(run: Run, record: dict) -> Training | None:
    log = tuple(read_journal(run.path / "train" / "log.jsonl"))
    if not log:
        return None
    rollouts = defaultdict(list)
    for row in read_journal(run.path / "train" / "rollouts.jsonl"):
        rollouts[row["step"]].append(row)
    steps = sorted(rollouts)
    shown = dict.fromkeys(steps[place] for place in (0, len(steps) // 2, -1)) if steps else {}
    return Training(
        log,
        tuple(read_journal(run.path / "train" / "probes.jsonl")),
        {step: tuple(rollouts[step]) for step in shown},
        tuple(_training_notes(run, record["provenance"])),
    )


def _training_notes(run: Run, provenance: dict) -> Iterator[str]:
    """What the stages left out, and what the machine had put in place of the recipe's."""
    warm_up, train = provenance.get("warm-up", {}), provenance.get("train", {})
    if "solutions" in warm_up:
        yield (
            f"SFT warm-up on {warm_up['solutions']} worked solutions; {warm_up['too_long_solutions']} longer than half "
            f"of max_sequence and {warm_up['evaluated_solutions']} that the run evaluates were left out."
        )
    if "max_prompt" in train:
        yield (
            f"GRPO on {train['prompts']} prompts of at most {train['max_prompt']} tokens, {train['too_long_prompts']} "
            f"longer ones left out; completions of at most {train['max_completion']} tokens."
        )
    for folder in (run.warm_up, run.path / "train"):
        effective = folder / "effective_config.json"
        for key, why in (read_json(effective)["replaced"] if effective.is_file() else {}).items():
            yield f"Replaced in {'SFT' if folder == run.warm_up else 'GRPO'}: {key} {why}."


def _verdict(sides: dict[str, Evaluation], comparison: dict | None) -> str:
    name = HEADLINE[0]
    show = measure(name).show
    first = next(iter(sides.values()))
    if comparison is None:
        metric = first.metrics[name]
        return f"{show(metric.mean)} of {metric.n} replies are right and in the layout."
    difference = comparison["metrics"][name]
    if difference["delta"] is None:
        return "The two sides have no graded problem in common."
    delta, low, high = (measure(name).show(difference[key], signed=True) for key in ("delta", "low", "high"))
    word = {
        "better": "Better:",
        "worse": "Worse:",
    }.get(difference["verdict"], "No evidence either way:")
    return (
        f"{word} right and in the layout went from {show(difference['before'])} to {show(difference['after'])} "
        f"({delta}, 95 % interval {low.removesuffix(' pp')} to {high}, {difference['n_pairs']} pairs)."
    )


def _notes(sides: dict[str, Evaluation]) -> Iterator[str]:
    """What the evaluation found out about itself."""
    for side, evaluation in sides.items():
        known = evaluation.provenance
        if effect := known.get("adapter_effect"):
            weaker = (
                " (weaker evidence: the server gives no log-probabilities)" if "greedy" in effect["evidence"] else ""
            )
            yield (
                f"The adapter acts: with it the {effect['evidence']} of {effect['prompts']} probes differ by up to "
                f"{effect['difference']:.2g}, those of the base asked twice by {effect['noise']:.2g}{weaker}."
            )
        if known.get("cached"):
            yield f"{side}: an earlier run of the same model, prompts, sampling and versions drew the replies."
        if again := known.get("drawn_again"):
            yield f"{side}: {again['differ']} of {again['replies']} greedy replies differ when they are drawn again."


def _language_note(comparison: dict, target: str) -> str:
    full = comparison["metrics"].get("language_ratio")
    if full is None:
        return "The run has no target language."
    counts, samples = comparison["languages"], comparison["samples"]
    before, after = (side.get(target, 0) for side in counts.values())
    note = (
        f"Of the first {samples} replies, {before} reason in the target language ({target}) before and {after} after."
    )
    if full["delta"] is not None:
        show = measure("language_ratio").show
        note += (
            f" {samples} samples are too few to believe a small difference; over all {full['n_pairs']} pairs it is "
            f"{show(full['before'])} before and {show(full['after'])} after: {full['verdict']}."
        )
    return note


def _examples(sides: dict[str, Evaluation]) -> dict[str, tuple[Example, ...]]:
    """A few problems of each flip; with one side alone, of right and wrong."""
    first, *_, last = sides.values() if len(sides) > 1 else 2 * tuple(sides.values())
    partners = {completion.place: pair for pair in _graded(last) for completion in pair[:1]}
    groups = defaultdict(list)
    for completion, score in _graded(first):
        partner = partners.get(completion.place)
        flip = score.flip(partner[1]) if partner else None
        if flip and len(groups[flip]) < EXAMPLES_A_FLIP:
            shown = ((first.name, completion, score), (last.name, *partner))[: len(sides)]
            groups[flip].append(Example(completion.question, completion.answer, shown))
    return {flip: tuple(groups[flip]) for flip in FLIP_ORDER if groups[flip]}


def _graded(side: Evaluation) -> Iterator[tuple[Completion, Score]]:
    return zip(side.completions, side.scores, strict=True)


def _facts(record: dict, run: Run) -> dict[str, dict[str, Any]]:
    """Settings, provenance and times, as tables of key and value."""
    facts = {"Settings": _flat(record["configuration"])}
    facts |= {f"Stage {stage}": _flat(provenance) for stage, provenance in record["provenance"].items()}
    for title, folder in (("SFT as the trainer ran it", run.warm_up), (TRAINING_TITLE, run.path / "train")):
        effective = folder / "effective_config.json"
        if effective.is_file():
            values = read_json(effective)
            given = {key: values["arguments"].get(key) for key in EFFECTIVE if key in values["arguments"]}
            facts[title] = {key: values[key] for key in PARAMETERS} | given
    seconds = {stage: state["seconds"] for stage, state in record["stages"].items() if stage != "report"}
    return facts | {"Seconds": seconds, "Program": {"harness": record["version"]}}


def _flat(values: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key} ")
        elif value not in (None, ""):
            flat[prefix + key] = value
    return flat
