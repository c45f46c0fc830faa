"""The one place where a stage's name becomes a call into a room."""

from collections.abc import Callable

from harness import registry, training_seeds
from harness.same_data import refuse_changed_data
from harness.store import ALSO, BOTH, SIDES, Run, parts
from harness.types import Completion


def run_stage(run: Run, stage: str, quiet: bool, watch: Callable[[Completion], None] | None = None) -> None:
    """Run one stage in this process, loading only the room that it needs."""
    also = {f"{ALSO}{side}": side for side in SIDES}
    registry.choose("stage", stage, (*SIDES, BOTH, *also, "warm-up", "train", "report"))
    if stage != "report":
        refuse_changed_data(run)
    if stage == "warm-up":
        from train.sft import warm_up

        warm_up(run, quiet)
    elif stage == "train":
        from train.grpo import train

        train(run, quiet)
    elif stage in also:
        from harness.lmeval.also import measure_tasks

        measure_tasks(run, stage, also[stage], quiet)
    elif stage == "report":
        from harness.compare import compare_run
        from harness.lmeval.also import compare_tasks
        from reports.page import write_report

        with run.stage("report"):
            trainings = training_seeds.finished(run)
            if trainings:
                training_seeds.gather(run)
                training_seeds.compare_seeds(run)
            sides = run.evaluations()
            compare_run(run, sides)
            compare_tasks(run)
            write_report(run, sides)
    elif run.config.training_seeds and stage == training_seeds.AFTER:
        training_seeds.gather(run)
    else:
        from harness.evaluate import evaluate

        sides = parts(stage)
        evaluate(run, sides, run.adapter_of(sides[-1]), quiet, watch)
