"""Whether the data are still those that a run's stages began with."""

from harness.config import Configuration
from harness.data import datasets
from harness.errors import UserError
from harness.evaluation.provenance import dataset_sha
from harness.storage.run_folder import Run
from harness.storage.stages import STAGES
from harness.types import Dataset

# By the function of harness.data.datasets that gives what a stage takes.
WHAT = {
    "lessons": "trained on other worked solutions",
    "training_problems": "trained on other problems",
    "evaluation_problems": "answers to other questions or true answers",
}


def refuse_changed_data(run: Run) -> None:
    """A UserError where a stage of the run has begun with other problems than the data has now."""
    config, provenance, shas = run.config, run.record.provenance, {}
    takes = {part: stage for stage in STAGES.values() if stage.data for part in stage.state_names}
    for part, stage in takes.items():
        kept = provenance.get(part, {})
        # A training of an older program may have had problems among its own that were evaluated.
        if "dataset_sha" not in kept or (stage.trains and "near_copies" not in kept):
            continue
        if stage.data not in shas:
            shas[stage.data] = dataset_sha(_taken(stage.data, config))
        if shas[stage.data] != kept["dataset_sha"]:
            raise UserError(
                f"{run.path}: its stage '{STAGES[part].title}' {WHAT[stage.data]} than the data has now (was it "
                "edited?): bring that back, or start with --fresh"
            )


def _taken(data: str, config: Configuration) -> Dataset:
    taken = getattr(datasets, data)(config)
    return taken if isinstance(taken, Dataset) else taken[0]
