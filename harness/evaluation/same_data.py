"""Whether the data are still those that a run's stages started with."""

from harness.config import Configuration
from harness.data import datasets
from harness.errors import UserError
from harness.evaluation.provenance import dataset_sha
from harness.stages import STAGES, Stage
from harness.storage.run_folder import Run
from harness.types import Dataset

# By the function of harness.data.datasets that gives what a stage takes.
PROBLEMS = {
    "lessons": "worked solutions",
    "training_problems": "training problems",
    "evaluation_problems": "dataset",
}


def refuse_changed_data(run: Run) -> None:
    """Raises UserError if a stage of the run started with other problems than the data has now."""
    config, provenance, shas = run.config, run.record.provenance, {}
    stages = {part: stage for stage in STAGES.values() if stage.data for part in stage.state_names}
    for part, stage in stages.items():
        recorded = provenance.get(part, {})
        # A training of an older program may have had problems among its own that were evaluated.
        if "dataset_sha" not in recorded or (stage.trains and "near_copies" not in recorded):
            continue
        if stage.data not in shas:
            shas[stage.data] = dataset_sha(_problems(stage.data, config))
        if shas[stage.data] != recorded["dataset_sha"]:
            raise data_changed(run, stage, part)


def data_changed(run: Run, stage: Stage, part: str) -> UserError:
    """The error for a stage, or the side `part` that it makes, which started with other problems."""
    since = f'stage "{stage.title}" started' if stage.trains else f'side "{part}" was generated'
    return UserError(
        f"{run.path}: the {PROBLEMS[stage.data]} changed since {since}: bring the old data back, or start over with "
        "--fresh"
    )


def _problems(data: str, config: Configuration) -> Dataset:
    """What the function of harness.data.datasets gives; some give a count too."""
    result = getattr(datasets, data)(config)
    return result if isinstance(result, Dataset) else result[0]
