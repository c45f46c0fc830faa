"""What each stage's row calls, loading only the room that it needs."""

from collections.abc import Callable

from harness import registry
from harness.evaluation import training_seeds
from harness.evaluation.same_data import refuse_changed_data
from harness.storage.run_folder import Run
from harness.storage.stages import LAST, REPORT, STAGES, Stage
from harness.types import Completion, Evaluation

Watch = Callable[[Completion], None] | None


def run_stage(run: Run, name: str, quiet: bool, watch: Watch = None) -> None:
    """Run one stage in this process. Raises UserError if there is none of that name, or the data changed under it."""
    runs = registry.load("stage", name, {each.name: each.runs for each in STAGES.values()})
    if name != REPORT:
        refuse_changed_data(run)
    runs(run, STAGES[name], quiet, watch)


def evaluate_sides(run: Run, stage: Stage, quiet: bool, watch: Watch) -> None:
    """Generate and score the replies of the stage's sides; those of several trainings are in their runs already."""
    if run.config.training_seeds and stage.makes == (LAST,):
        training_seeds.gather(run)
        return
    from harness.evaluation.evaluate import evaluate

    evaluate(run, stage.makes, run.adapter_of(stage.makes[-1]), quiet, watch)


def measure_tasks(run: Run, stage: Stage, quiet: bool, watch: Watch) -> None:
    from harness.lmeval import also

    also.measure_tasks(run, stage.name, stage.tasks_of, quiet)


def train_sft(run: Run, stage: Stage, quiet: bool, watch: Watch) -> None:
    from train.sft import warm_up

    warm_up(run, stage, quiet)


def train_grpo(run: Run, stage: Stage, quiet: bool, watch: Watch) -> None:
    from train.grpo import train

    train(run, stage, quiet)


def compare_sides(run: Run) -> list[Evaluation]:
    """Compare the finished sides, those of several trainings gathered first, and return them."""
    from harness.statistics.compare import compare

    if training_seeds.finished(run):
        training_seeds.compare_seeds(run)
    sides = run.evaluations()
    if len(sides) > 1:
        run.write_comparison(compare(*sides))
    return sides


def write_report(run: Run, stage: Stage, quiet: bool, watch: Watch) -> None:
    """Compare the finished sides and draw the report."""
    from harness.lmeval.also import compare_tasks
    from reports.page import write_report

    with run.record.stage(stage.name):
        sides = compare_sides(run)
        compare_tasks(run)
        write_report(run, sides)
