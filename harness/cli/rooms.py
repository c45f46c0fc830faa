"""The one place where a stage's name becomes a call into a room."""

from collections.abc import Callable

from harness import registry
from harness.store import BOTH, Run, parts
from harness.types import Completion


def run_stage(run: Run, stage: str, quiet: bool, watch: Callable[[Completion], None] | None = None) -> None:
    """Run one stage in this process, loading only the room that it needs."""
    registry.choose("stage", stage, ("before", "train", "after", BOTH, "report"))
    if stage == "train":
        from train.grpo import train

        train(run, quiet)
    elif stage == "report":
        from harness.compare import compare_run
        from reports.page import write_report

        with run.stage("report"):
            compare_run(run)
            write_report(run)
    else:
        from harness.evaluate import evaluate

        sides = parts(stage)
        adapter = (run.config.adapter or str(run.adapter.resolve())) if "after" in sides else None
        evaluate(run, sides, adapter, quiet, watch)
