"""Extra tasks of lm-eval before and after, through its own backends: whether training changed anything else.

The run folder's also/ has for each side the samples, one line per document and filter, and their means; if there are
two sides, also their differences, paired by task, filter and document. Each metric's definition is stored with them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.config import Configuration
from harness.console import progress
from harness.engines import engine_name
from harness.engines.base_weights import evaluation_weights
from harness.errors import UserError, cause
from harness.lmeval import OURS, pairing
from harness.metric_definitions import MetricDefinition
from harness.models import adapters, checkpoints, hub
from harness.models.precision import dtype_of, gpu_has_bfloat16, model_type
from harness.stages import BASE, LAST, title_of
from harness.statistics.compare import metric_of
from harness.statistics.differences import primary_differences
from harness.storage import validation
from harness.storage.files import read_journal
from harness.storage.run_folder import Run
from harness.storage.schema import Document, ExtraTaskDifferences, ExtraTaskMeans
from harness.types import from_row

BACKENDS = {"transformers": "hf", "vllm": "vllm"}
BATCH = 16
AGAIN = "delete also/, then run again"
# A document of one side is that of the other if these are the same.
IDENTITY = ("doc_hash", "prompt_hash", "target_hash")
Place = tuple[str, str, int]
# An older program stored it wrongly as a log-likelihood.
OLD_PERPLEXITY = "perplexity"


def check(config: Configuration) -> None:
    """Raises UserError if lm-eval is not installed, has no such task, or has no backend for the engine."""
    registry.needs_library("--also", "lm_eval", "lm-eval")
    if engine_name(config.engine) not in BACKENDS:
        raise UserError(f"--also needs the engine {' or '.join(BACKENDS)}, not {config.engine}: leave --also out")
    if config.also_tasks and not Path(config.also_tasks).is_dir():
        raise UserError(f"also_tasks = {config.also_tasks}: no such folder: give one with lm-eval's .yaml tasks")
    tasks = _manager(config).all_tasks
    for name in config.also:
        registry.choose("lm-eval task", name, tasks)


def measure_tasks(run: Run, stage: str, side: str, quiet: bool) -> None:
    """Run the extra tasks on one side's model; to be called in a process that is lm-eval's alone."""
    config = run.config
    with run.record.stage(stage) as provenance:
        progress.note(f"{title_of(stage)}: {', '.join(config.also)} by lm-eval", quiet)
        with progress.libraries_into(run.path / "also" / f"{side}.log"):
            results, aggregated = _evaluate(config, run.adapter_of(side))
        samples, unpaired = results["samples"], defaultdict(dict)
        rows = [_row(task, sample, aggregated[task], unpaired[task]) for task in samples for sample in samples[task]]
        provenance |= {"tasks": {task: results["versions"].get(task) for task in samples}}
        scored = {(row["task"], metric) for row in rows for metric in row["scores"]}
        unpaired = {
            task: {metric: why for metric, why in reasons.items() if (task, metric) not in scored}
            for task, reasons in unpaired.items()
        }
        for task, reasons in unpaired.items():
            for metric, reason in reasons.items():
                progress.note(f"{title_of(stage)}: {task}: {metric} is not compared: {reason}", quiet)
        validation.write_rows(Document, run.path / "also" / f"{side}.jsonl", rows)
        summary = _summary(rows, results["higher_is_better"]) | {"unpaired": unpaired}
        validation.write(ExtraTaskMeans, run.path / "also" / f"{side}.json", summary)
        run.hashes.add(*(run.path / "also" / f"{side}.{suffix}" for suffix in ("jsonl", "json")))


def compare_tasks(run: Run) -> None:
    """Write the differences of a run's last side from its first; nothing if there are not both.

    A document counts if both sides have it under the same number with the same text, prompt and target.
    """
    files = [run.path / "also" / f"{side}.jsonl" for side in (BASE, LAST)]
    run.hashes.verify(*files, *(file.with_suffix(".json") for file in files))
    if not all(file.is_file() for file in files):
        return
    before, after = ({_place(row): row for row in _documents(file)} for file in files)
    means = [validation.read(ExtraTaskMeans, file.with_suffix(".json"), AGAIN) for file in files]
    definitions = _of_both(*(each["measures"] for each in means))
    metrics = {(task, title) for task, by_title in definitions.items() for title in by_title}
    pairs = [(row, after[place]) for place, row in before.items() if _alike(row, after.get(place))]
    values: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for old, new in pairs:
        for metric in old["scores"].keys() & new["scores"].keys() - {OLD_PERPLEXITY}:
            key = old["task"], _title(metric, old["filter"])
            if key not in metrics:
                raise UserError(f"{files[0]}: has {' '.join(key)}, which {BASE}.json beside it lacks: {AGAIN}")
            weight = old.get("weights", {}).get(metric, 1.0)
            values[key].append((old["scores"][metric], new["scores"][metric], weight))
    differences = primary_differences(
        {
            (task, title): (from_row(MetricDefinition, definitions[task][title]), *_over_weights(each))
            for (task, title), each in sorted(values.items())
        }
    )
    tasks: dict[str, dict[str, dict]] = defaultdict(dict)
    for (task, title), difference in differences.items():
        tasks[task][title] = asdict(difference)
    comparison = {
        "tasks": tasks,
        "measures": definitions,
        "left_out": len({*before, *after}) - len(pairs),
        "unpaired": _unpaired(means, metrics - values.keys()),
    }
    validation.write(ExtraTaskDifferences, run.path / "also" / "comparison.json", comparison)
    run.hashes.add(run.path / "also" / "comparison.json")


def _unpaired(means: Sequence[dict[str, Any]], lacking: AbstractSet[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Why metrics have no difference, by task: they cannot have one, or none of their documents is on both sides."""
    reasons: dict[str, dict[str, str]] = defaultdict(dict)
    for task, title in sorted(lacking):
        old = title.partition(",")[0] == OLD_PERPLEXITY
        reasons[task][title] = (
            f"an older program stored it otherwise: {AGAIN}" if old else "no document is on both sides"
        )
    for side in means:
        for task, each in side.get("unpaired", {}).items():
            reasons[task] |= each
    return reasons


def _over_weights(rows: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Both sides' shares (2, documents), such that their means are the sums of shares over the sum of weights."""
    before, after, weights = np.array(rows).T
    return np.array([before, after]) / weights.mean()


def _documents(file: Path) -> Sequence[dict[str, Any]]:
    return validation.check_all(Document, read_journal(file), file, AGAIN)


def _evaluate(config: Configuration, adapter: str | None) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """lm-eval's results with every sample, and the aggregation of each metric of each task.

    Four of its traps are avoided: completions are not cached, as its cache's key has no model in it; its results
    folder, whose name leaves out a vLLM adapter, is not used; tasks that name no temperature are greedy, as vLLM would
    sample them; all documents are taken in their order, as a choice of some would number them anew.
    """
    hub.prepare()
    from datasets.exceptions import DatasetsError
    from lm_eval import simple_evaluate

    engine, manager = engine_name(config.engine), _manager(config)
    try:
        tasks = _loaded_tasks(config, manager)
        _refuse_unpaired(tasks)
        results = simple_evaluate(
            model=BACKENDS[engine],
            model_args=_model_arguments(config, engine, adapter),
            tasks=tasks,
            task_manager=manager,
            batch_size=BATCH if engine == "transformers" else "auto",
            device=None if engine == "vllm" else _device(config),
            limit=config.also_limit,
            use_cache=None,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=config.also_chat_template,
            random_seed=config.seed,
            numpy_random_seed=config.seed,
            torch_random_seed=config.seed,
            fewshot_random_seed=config.seed,
        )
        # Only now, as a task may name metrics while it scores.
        return results, {task.task_name: pairing.aggregations(task) for task in tasks}
    except (OSError, ValueError, DatasetsError) as error:
        raise UserError(
            f"--also {','.join(config.also)}: lm-eval cannot run it ({cause(error)}): leave it out"
        ) from error


def _refuse_unpaired(tasks: Iterable[Any]) -> None:
    """Raises UserError for a task without a metric that can be compared."""
    for task in tasks:
        by = pairing.aggregations(task)
        if by and all(map(pairing.why_not, by.values())):
            reasons = "; ".join(f"{metric} is {pairing.why_not(each)}" for metric, each in by.items())
            raise UserError(f"--also {task.task_name}: nothing of it can be paired ({reasons}): leave it out")


def _manager(config: Configuration) -> Any:
    """lm-eval's index of tasks: of ours and the user's if no others are configured, else of its thousands too.

    The latter takes seconds.
    """
    from lm_eval.tasks import TaskManager

    folders = [str(OURS), *([config.also_tasks] if config.also_tasks else [])]
    own_tasks = TaskManager(include_path=folders, include_defaults=False)
    return own_tasks if {*config.also} <= {*own_tasks.all_tasks} else TaskManager(include_path=folders)


def _loaded_tasks(config: Configuration, manager: Any) -> list[Any]:
    """Load the tasks; those that generate without a temperature of their own are made greedy."""
    tasks = list(manager.load(list(config.also))["tasks"].values())
    for task in tasks:
        settings = task.get_config("generation_kwargs") or {}
        if task.get_config("output_type") == "generate_until" and "temperature" not in settings:
            task.set_config("generation_kwargs", {"temperature": 0.0, "do_sample": False}, update=True)
    return tasks


def _model_arguments(config: Configuration, engine: str, adapter: str | None) -> dict[str, Any]:
    arguments = {"pretrained": checkpoints.locate(config.checkpoint), "trust_remote_code": config.trust_remote_code}
    if config.chat_template_kwargs:
        arguments["chat_template_args"] = dict(config.chat_template_kwargs)
    if engine == "vllm":
        if adapter:
            rank = adapters.rank(adapter)
            arguments |= {"lora_local_path": adapter, "enable_lora": True, "max_lora_rank": rank}
        rounded = {"quantization": "bitsandbytes"} if evaluation_weights(config)[0] == "4-bit" else {}
        # lm-eval's own replicas need Ray.
        ours = {name: value for name, value in config.engine_args.items() if name != "data_parallel_size"}
        return arguments | rounded | {"gpu_memory_utilization": 0.8} | ours
    has_bfloat16 = None if _device(config) == "cpu" else gpu_has_bfloat16()
    arguments["dtype"] = dtype_of(has_bfloat16, model_type(config.checkpoint), config.engine_args.get("dtype"))
    return arguments | ({"peft": adapter} if adapter else {})


def _device(config: Configuration) -> str:
    import torch

    return config.engine_args.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")


def _row(task: str, sample: Mapping[str, Any], by: Mapping[str, str], unpaired: dict[str, str]) -> dict[str, Any]:
    """A line of also/SIDE.jsonl: the document, its target, the response, and each metric's share and weight.

    Metrics that have none go into `unpaired`, with the reason.
    """
    scores, weights, left_out = pairing.shares(sample, by)
    unpaired |= left_out
    document = {key: sample[key] for key in ("doc_id", "filter", *IDENTITY)}
    return {
        "task": task,
        **document,
        "target": str(sample["target"]),
        "response": sample["filtered_resps"],
        "scores": scores,
        **({"weights": weights} if weights else {}),
    }


def _place(row: Mapping[str, Any]) -> Place:
    return row["task"], row["filter"], row["doc_id"]


def _alike(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> bool:
    return new is not None and all(old[key] == new[key] for key in IDENTITY)


def _title(metric: str, filter: str) -> str:
    return metric if filter == "none" else f"{metric}, {filter}"


def _summary(rows: Iterable[Mapping[str, Any]], directions: Mapping[str, Mapping[str, bool]]) -> dict[str, dict]:
    """Each task's metrics with their intervals, and their definitions."""
    values: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        for metric, value in row["scores"].items():
            values[row["task"], row["filter"], metric].append((value, row.get("weights", {}).get(metric, 1.0)))
    means: dict[str, dict[str, dict]] = defaultdict(dict)
    definitions: dict[str, dict[str, dict]] = defaultdict(dict)
    for (task, filter, metric), each in values.items():
        shares, weights = np.array(each).T
        numbers, title = shares / weights.mean(), _title(metric, filter)
        definition = definition_by_values(numbers, directions.get(task, {}).get(pairing.metric_of(metric)))
        means[task][title] = asdict(metric_of(definition, numbers, np.arange(len(numbers))))
        definitions[task][title] = asdict(definition)
    return {"tasks": means, "measures": definitions}


def definition_by_values(values: np.ndarray, higher_is_better: bool | None) -> MetricDefinition:
    """A metric of lm-eval's by its values: a share if all are 0 or 1, in percent if none is beyond them."""
    better = 0 if higher_is_better is None else 1 if higher_is_better else -1
    share = bool(np.isin(values, (0, 1)).all())
    return MetricDefinition("", share=share, percent=bool(((values >= 0) & (values <= 1)).all()), better=better)


def _of_both(before: dict[str, dict[str, dict]], after: dict[str, dict[str, dict]]) -> dict[str, dict[str, dict]]:
    """The definitions of the first side's metrics: a share, or in percent, only if they are on both sides."""
    return {
        task: {title: _narrower(each, after.get(task, {}).get(title, each)) for title, each in by_title.items()}
        for task, by_title in before.items()
    }


def _narrower(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return old | {key: old[key] and new[key] for key in ("share", "percent")}
