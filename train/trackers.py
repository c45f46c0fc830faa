"""Trackers that follow a run if its recipe names one: the training's curves, metrics, verdicts, what the report says.

They read the run folder from the process of the command, so that all of it is one run of the tracker's, whichever
processes trained and evaluated, and whether or not they were killed and continued. tensorboard and trackio are the
trainer's own (TRAINERS_OWN) and have the curves alone.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import registry
from harness.console import progress
from harness.errors import UserError, cause
from harness.stages import SIDES
from harness.statistics import headline
from harness.statistics.metric_rows import COLUMNS, all_rows
from harness.storage.files import cut_journal, read_json, read_steps
from harness.storage.run_folder import Run
from harness.types import Difference
from train.stage import last_checkpoint, step_of

PROJECT = "harness"
SECONDS_BETWEEN_LOOKS = 2.0
# What MLflow takes.
LONGEST_PARAMETER = 6000
LONGEST_TAG = 5000
NOT_IN_MLFLOW_NAMES = re.compile(r"[^/\w.\- ]")
TRACKERS = {
    "swanlab": "train.trackers:SwanLab [swanlab]",
    "wandb": "train.trackers:Wandb [wandb]",
    "mlflow": "train.trackers:MLflow [mlflow]",
}
# Those that the trainer reports to by itself.
TRAINERS_OWN = {"tensorboard": "tensorboard [tensorboard]", "trackio": "trackio [trackio]"}


class SwanLab:
    """SwanLab, offline unless SWANLAB_MODE says cloud or local."""

    fix = "log in there, set SWANLAB_API_KEY, or SWANLAB_MODE=offline"

    def __init__(self, run: Run):
        import swanlab

        mode = os.environ.get("SWANLAB_MODE", "offline")
        if mode == "local" and find_spec("swanboard") is None:
            raise UserError("SWANLAB_MODE=local needs swanboard: pip install 'swanlab[dashboard]'")
        self.module: ModuleType = swanlab
        folder = run.path / "tracker"
        folder.mkdir(exist_ok=True)
        swanlab.init(
            project=PROJECT,
            name=run.config.folder_name,
            mode=mode,
            log_dir=str(folder),
            config=run.record.configuration,
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self.module.log(values, step=step)

    def texts(self, texts: dict[str, str]) -> None:
        self.module.log({name: self.module.Text(text) for name, text in texts.items()})

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = self.module.echarts.Table()
        table.add([*head], [[*row] for row in rows])
        self.module.log({name: table})

    def image(self, name: str, path: Path) -> None:
        self.module.log({name: self.module.Image(str(path))})

    def close(self) -> None:
        self.module.finish()


class Wandb:
    """Weights & Biases, offline unless WANDB_MODE says online."""

    fix = "log in there, set WANDB_API_KEY, or WANDB_MODE=offline"

    def __init__(self, run: Run):
        import wandb

        self.module: ModuleType = wandb
        folder = run.path / "tracker"
        folder.mkdir(exist_ok=True)
        self.run = wandb.init(
            project=PROJECT,
            name=run.config.folder_name,
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(folder),
            config=run.record.configuration,
            settings=wandb.Settings(console="off", silent=True),
        )
        # Its own steps only ever grow, and probes and training have each their own.
        self.run.define_metric("*", step_metric="step")

    def log(self, values: dict[str, float], step: int) -> None:
        self.run.log({"step": step} | values)

    def texts(self, texts: dict[str, str]) -> None:
        self.run.summary.update(texts)

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.run.log({name: self.module.Table(columns=[*head], data=[[*row] for row in rows])})

    def image(self, name: str, path: Path) -> None:
        self.run.log({name: self.module.Image(str(path))})

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """MLflow, in files of the run folder unless MLFLOW_TRACKING_URI names a server. A text is a tag."""

    fix = "fix MLFLOW_TRACKING_URI, or leave it out to write into the run folder"

    def __init__(self, run: Run):
        # Its newer versions write files only where this is allowed; a database would need far more packages.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # By default a server that is down is waited for for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        import mlflow

        self.entities: ModuleType = mlflow.entities
        address = os.environ.get("MLFLOW_TRACKING_URI") or (run.path / "tracker").resolve().as_uri()
        # Not its global run, which each thread has its own of.
        self.client = mlflow.MlflowClient(tracking_uri=address)
        experiment = self.client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self.client.create_experiment(PROJECT)
        self.run = self.client.create_run(number, run_name=run.config.folder_name).info.run_id
        keys = run.record.configuration.items()
        params = [mlflow.entities.Param(key, str(value)[:LONGEST_PARAMETER]) for key, value in keys]
        self.client.log_batch(self.run, params=params)

    def log(self, values: dict[str, float], step: int) -> None:
        now = time.time_ns() // 10**6
        named = {NOT_IN_MLFLOW_NAMES.sub("", name): value for name, value in values.items()}
        metrics = [self.entities.Metric(name, value, now, step) for name, value in named.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def texts(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            self.client.set_tag(self.run, NOT_IN_MLFLOW_NAMES.sub("", name), text[:LONGEST_TAG])

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.client.log_dict(self.run, {"columns": [*head], "data": [[*row] for row in rows]}, f"{name}.json")

    def image(self, name: str, path: Path) -> None:
        self.client.log_artifact(self.run, str(path), name.rpartition("/")[0])

    def close(self) -> None:
        self.client.set_terminated(self.run)


@contextmanager
def tracked(run: Run, stages: Sequence[str]) -> Iterator[None]:
    """Let the run's tracker, if its configuration names one of TRACKERS, follow the stages that the body runs."""
    name = run.config.tracker
    if name not in TRACKERS or all(run.record.is_done(stage) for stage in stages):
        yield
        return
    _cut_journals(run)
    with redirect_stdout(sys.stderr):
        tracker = _open(name, run)
    stop = threading.Event()
    thread = threading.Thread(target=_follow_until_stopped, args=(run, tracker, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with redirect_stdout(sys.stderr), _failures_noted(name):
            _log_results(run, tracker)
            tracker.close()


def _cut_journals(run: Run) -> None:
    """Cut the journals of a training that was killed to the step that it continues from, before they are followed."""
    for stage, folder in (("warm-up", run.sft_folder), ("train", run.path / "train")):
        if run.record.is_done(stage):
            continue
        checkpoint = last_checkpoint(folder / "checkpoints")
        for journal in filter(Path.is_file, (folder / "log.jsonl", folder / "probes.jsonl")):
            cut_journal(journal, step_of(checkpoint) if checkpoint else 0)


def _open(name: str, run: Run) -> Any:
    kind = registry.load("tracker", name, TRACKERS)
    try:
        return kind(run)
    except UserError:
        raise
    except Exception as error:  # theirs have no common class
        raise UserError(f"tracker {name} does not start ({cause(error)}): {kind.fix}") from error


@contextmanager
def _failures_noted(name: str) -> Iterator[None]:
    """Note an error of the tracker in one line; the run continues without it."""
    try:
        yield
    except Exception as error:
        progress.note(f"tracker {name} failed and follows no more: {cause(error)}")


def _follow_until_stopped(run: Run, tracker: Any, stop: threading.Event) -> None:
    with _failures_noted(run.config.tracker):
        _follow(run, tracker, stop)


def _follow(run: Run, tracker: Any, stop: threading.Event) -> None:
    """Log every line of the training's journals once, also those from before this process, until `stop` is set."""
    seen: dict[Path, int] = {}
    stopping = False
    while not stopping:
        stopping = stop.wait(SECONDS_BETWEEN_LOOKS)
        for prefix, path in (
            ("sft", run.sft_folder / "log.jsonl"),
            ("train", run.path / "train" / "log.jsonl"),
            ("probe", run.path / "train" / "probes.jsonl"),
        ):
            rows = read_steps(path)
            for row in rows[seen.get(path, 0) :]:
                tracker.log({f"{prefix}/{key}": value for key, value in _numbers(row)}, row["step"])
            seen[path] = max(len(rows), seen.get(path, 0))


def _numbers(row: dict) -> Iterator[tuple[str, float]]:
    return ((key, value) for key, value in row.items() if key != "step" and isinstance(value, int | float))


def _log_results(run: Run, tracker: Any) -> None:
    """Log the metrics of every evaluated side, how they differ, the verdicts, and what the report shows first."""
    last = max((row["step"] for row in read_steps(run.path / "train" / "log.jsonl")), default=0)
    for side in SIDES:
        if run.record.is_done(side):
            metrics = read_json(run.path / side / "metrics.json")
            means = {f"{side}/{name}": each["mean"] for name, each in metrics.items() if each["mean"] is not None}
            tracker.log(means, last)
    if (run.path / "comparison.json").is_file():
        _log_comparison(run, tracker, last)
    for plot in sorted((run.path / "report" / "plots").glob("*.png")):
        tracker.image(f"report/{plot.stem}", plot)


def _log_comparison(run: Run, tracker: Any, step: int) -> None:
    """Log the differences, the verdicts, the report's first lines and warnings, and the table of all metrics."""
    comparison = run.comparison()
    differences = {name: Difference.stored(each) for name, each in comparison["metrics"].items()}
    deltas = {name: each.delta for name, each in differences.items() if each.delta is not None}
    tracker.log({f"difference/{name}": delta for name, delta in deltas.items()}, step)
    health = (text for each in run.record.provenance.values() for text in each.get("health", ()))
    tracker.texts(
        {f"verdict/{name}": each.verdict for name, each in differences.items()}
        | {
            "report/headline": "\n".join(headline.lines(differences, comparison.get("gain"))),
            "report/warnings": "\n".join((*comparison["warnings"], *health)) or "none",
        }
    )
    sides = {side: run.metrics(side) for side in SIDES if run.record.is_done(side)}
    rows = all_rows([*sides.values()], [run.record.configuration], differences).values()
    head = ("metric", *sides, *COLUMNS)
    tracker.table("report/comparison", head, [(row.name, *row.means, *row.cells) for row in rows])
