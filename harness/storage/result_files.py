"""Readers of the files that hold a run's results. Each checks what it reads and names the fix."""

from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.storage import validation
from harness.storage.files import read_journal, read_json
from harness.storage.schema import ExtraTaskDifferences
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Completion, MetricValue, OverSeeds, Score


def read_completions(path: Path) -> list[Completion]:
    """The completions of a journal as far as it goes, in the dataset's order. Raises UserError if a line is none."""
    try:
        completions = [validation.make(Completion, row) for row in read_journal(path)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: a line is not a reply ({error}): delete it, then run again") from error
    if len({each.place for each in completions}) < len(completions):
        raise UserError(f"{path}: one reply is there twice: delete one of its lines, then run again")
    return sorted(completions, key=lambda each: each.position)


def read_scores(path: Path) -> dict[tuple[str, int], Score]:
    """The scores of a side by the place of the completion. Raises UserError if a line is no score."""
    try:
        scores = [validation.make(Score, row) for row in read_journal(path)]
        for score in scores:
            if not {score.scores[ACCURACY_STRICT], score.scores[ACCURACY_FLEXIBLE]} <= {0, 1, None}:
                raise ValueError("an accuracy that is not 0, 1 or null")
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{path}: a line is not a score ({error}): run `harness score`") from error
    return {score.place: score for score in scores}


def read_metrics(path: Path) -> dict[str, MetricValue]:
    """The metrics of a side by name. Raises UserError if they are damaged or lack an accuracy."""
    fix = "run `harness score`"
    try:
        metrics = {name: validation.make(MetricValue, row) for name, row in read_json(path, fix).items()}
        if any((each.low is None) != (each.high is None) for each in metrics.values()):
            raise ValueError("an interval with one end")
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a side's metrics ({error}): {fix}") from error
    if not {ACCURACY_STRICT, ACCURACY_FLEXIBLE} <= metrics.keys():
        raise UserError(f"{path}: without {ACCURACY_STRICT} or {ACCURACY_FLEXIBLE}: {fix}")
    return metrics


def read_seeds(path: Path, fix: str) -> dict[str, OverSeeds]:
    """The differences over several trainings by metric. Raises UserError with the fix if they are damaged."""
    rows = read_json(path, fix)
    try:
        return {name: validation.make(OverSeeds, row) for name, row in rows.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged or edited ({error}): {fix}") from error


def read_extra_task_differences(path: Path) -> dict[str, Any]:
    """The differences of lm-eval's tasks. Raises UserError if they are damaged or a metric has no definition."""
    fix = "run `harness report`"
    differences = validation.read(ExtraTaskDifferences, path, fix)
    for task, metrics in differences["tasks"].items():
        if not metrics.keys() <= differences["measures"].get(task, {}).keys():
            raise UserError(f"{path}: damaged or edited (a metric of {task} has no definition): {fix}")
    return differences
