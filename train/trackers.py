"""Trackers that follow a run if its recipe names one: the training's curves, metrics, verdicts, what the report says.

They read the run folder from the process of the command, so that all of it is one run of the tracker's, whichever
processes trained and evaluated, and whether or not they were killed and continued. tensorboard is the trainer's own
(TRAINERS_OWN) and has the curves alone.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from harness import registry
from harness.console import progress
from harness.errors import UserError, cause
from harness.stages import SIDES
from harness.statistics import headline
from harness.statistics.metric_rows import COLUMNS, all_rows
from harness.storage.files import cut_journal, read_json, read_steps
from harness.storage.run_folder import Run
from harness.types import Difference, from_row
from train.stage import last_checkpoint, step_of

SECONDS_BETWEEN_LOOKS = 2.0
TRACKERS = {
    "swanlab": "train.tracker_kinds:SwanLab [swanlab]",
    "wandb": "train.tracker_kinds:Wandb [wandb]",
    "mlflow": "train.tracker_kinds:MLflow [mlflow]",
    "trackio": "train.tracker_kinds:Trackio [trackio]",
}
# Those that the trainer reports to by itself.
TRAINERS_OWN = {"tensorboard": "tensorboard [tensorboard]"}


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
        return kind(run, _storable(run.record.configuration))
    except UserError:
        raise
    except Exception as error:  # theirs have no common class
        raise UserError(f"tracker {name} does not start ({cause(error)}): {kind.fix}") from error


def _storable(value: Any) -> Any:
    """A value whose texts every tracker can store: of a path with bytes that are no UTF-8, `?`."""
    if isinstance(value, dict):
        return {name: _storable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_storable(each) for each in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


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
    differences = {name: from_row(Difference, each) for name, each in comparison["metrics"].items()}
    deltas = {name: each.delta for name, each in differences.items() if each.delta is not None}
    tracker.log({f"difference/{name}": delta for name, delta in deltas.items()}, step)
    health = (text for each in run.record.provenance.values() for text in each.get("health", ()))
    texts = {f"verdict/{name}": each.verdict for name, each in differences.items()} | {
        "report/headline": "\n".join(headline.lines(differences, comparison.get("gain"))),
        "report/warnings": "\n".join((*comparison["warnings"], *health)) or "none",
    }
    tracker.texts(_storable(texts))
    sides = {side: run.metrics(side) for side in SIDES if run.record.is_done(side)}
    rows = all_rows([*sides.values()], [run.record.configuration], differences).values()
    head = ("metric", *sides, *COLUMNS)
    tracker.table("report/comparison", head, [(row.name, *row.means, *row.cells) for row in rows])
