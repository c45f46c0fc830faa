"""Whether the data are still those that a run's stages began with."""

from collections.abc import Callable

from harness import datasets
from harness.config import Configuration
from harness.errors import UserError
from harness.provenance import dataset_sha
from harness.store import SIDES, Run
from harness.types import Dataset

# What each stage that is trained takes from the data; each side takes the evaluated problems.
TAKEN: dict[str, Callable[[Configuration], Dataset]] = {
    "warm-up": lambda config: datasets.lessons(config)[0],
    "train": lambda config: datasets.training_problems(config)[0],
} | dict.fromkeys(SIDES, datasets.evaluation_problems)
WHAT = {"warm-up": "trained on other worked solutions", "train": "trained on other problems"}


def refuse_changed_data(run: Run) -> None:
    """A UserError where a stage of the run has begun with other problems than the data has now."""
    config, provenance, shas = run.config, run.record["provenance"], {}
    for stage, taken in TAKEN.items():
        kept = provenance.get(stage, {})
        # A training of an older program may have had problems among its own that were evaluated.
        if "dataset_sha" not in kept or (stage in WHAT and "near_copies" not in kept):
            continue
        if taken not in shas:
            shas[taken] = dataset_sha(taken(config))
        if shas[taken] != kept["dataset_sha"]:
            what = WHAT.get(stage, "answers to other questions or true answers")
            raise UserError(
                f"{run.path}: its stage '{stage}' {what} than the data has now (was it edited?): bring that back, or "
                "start with --fresh"
            )
