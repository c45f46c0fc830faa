"""The function behind each row of the table of stages; each imports only what it needs."""

import importlib

from harness import registry
from harness.config import Configuration
from harness.engines import ENGINES, OnCompletion, engine_name
from harness.evaluation import training_seeds
from harness.evaluation.same_data import refuse_changed_data
from harness.stages import LAST, REPORT, STAGES, Stage
from harness.storage.run_folder import Run
from harness.types import Evaluation


def run_stage(run: Run, name: str, quiet: bool, on_completion: OnCompletion | None = None) -> None:
    """Run one stage in this process; `on_completion` is called with every new completion.

    Raises UserError if there is none of that name, or the data changed since an earlier stage.
    """
    function = registry.load("stage", name, {each.name: each.runs for each in STAGES.values()})
    if name != REPORT:
        refuse_changed_data(run)
    function(run, STAGES[name], quiet, on_completion)


def import_libraries(config: Configuration, name: str) -> None:
    """Import what a stage needs ahead of its turn; not Unsloth, which takes GPU memory as soon as it is imported."""
    from train.backends import TRAINERS, trainer_name

    stage = STAGES[name]
    if name == REPORT:
        importlib.import_module("reports.page")
    elif stage.makes:
        importlib.import_module("harness.evaluation.evaluate")
        registry.load("engine", engine_name(config.engine), ENGINES)
    elif stage.trains and trainer_name(config) == "trl":
        registry.load("trainer", "trl", TRAINERS)
        importlib.import_module("train.trainers")


def evaluate_sides(run: Run, stage: Stage, quiet: bool, on_completion: OnCompletion | None) -> None:
    """Generate and score the completions of the stage's sides; gather those of several trainings from their runs."""
    if run.config.training_seeds and stage.makes == (LAST,):
        training_seeds.gather(run)
        return
    from harness.evaluation.evaluate import evaluate

    evaluate(run, stage.makes, run.adapter_of(stage.makes[-1]), quiet, on_completion)


def measure_tasks(run: Run, stage: Stage, quiet: bool, on_completion: OnCompletion | None) -> None:
    from harness.lmeval import extra_tasks

    extra_tasks.measure_tasks(run, stage.name, stage.tasks_of, quiet)


def train_sft(run: Run, stage: Stage, quiet: bool, on_completion: OnCompletion | None) -> None:
    from train.sft import train

    train(run, stage, quiet)


def train_grpo(run: Run, stage: Stage, quiet: bool, on_completion: OnCompletion | None) -> None:
    from train.grpo import train

    train(run, stage, quiet)


def write_report(run: Run, stage: Stage, quiet: bool, on_completion: OnCompletion | None) -> None:
    """Compare the finished sides and write the report."""
    from harness.lmeval.extra_tasks import compare_tasks
    from reports.page import write_report

    with run.record.stage(stage.name):
        sides = compare_sides(run)
        compare_tasks(run)
        write_report(run, sides)


def compare_sides(run: Run) -> list[Evaluation]:
    """Compare the finished sides and return them; those of several trainings are compared seed by seed too."""
    from harness.statistics.compare import compare

    several = bool(training_seeds.finished(run))
    if several:
        training_seeds.gather_changed(run)
    sides = run.evaluations()
    if several:
        training_seeds.compare_seeds(run, sides[0], sides[-1])
    if len(sides) > 1:
        run.write_comparison(compare(*sides))
    return sides
