"""The commands on a stored run that load no model: score, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import Json, Lang
from harness.errors import UserError
from harness.storage.links import real_path
from reports.texts import ENGLISH

if TYPE_CHECKING:
    from harness.storage.run_folder import Run

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]


def score(
    folder: RunFolder,
    rewards: Annotated[
        Path | None, typer.Option("--rewards", help="The run's own Python file of rewards, which is run.")
    ] = None,
    lang: Lang = ENGLISH,
    json: Json = False,
) -> None:
    """Score the stored replies of a run again."""
    from harness.evaluation import training_seeds
    from harness.storage.run_folder import Run
    from reports import texts

    run = Run.open(folder)
    run.lock()
    _refuse_unnamed_code(run, rewards)
    with texts.using(lang):
        for each in (*training_seeds.finished(run), run):
            _score_again(each)
    show.results(run, json)


def _score_again(run: "Run") -> None:
    """Score every side of a run, compare them, and write the report again if there is one.

    A file of rewards that was edited since scores all sides as it is now.
    """
    from harness.cli.stage_functions import compare_sides, run_stage
    from harness.evaluation import training_seeds
    from harness.evaluation.score_side import score_side
    from harness.stages import LAST, REPORT

    config = run.config.model_copy(update={"rewards_sha": ""})
    for side in run.finished_sides():
        if run.config.training_seeds and side == LAST:
            training_seeds.members(run)  # scored in their own runs, and gathered where sides are compared
        else:
            score_side(run, side, run.completions(side), quiet=False, config=config)
    if run.report.is_file():
        run_stage(run, REPORT, quiet=True)
    else:
        compare_sides(run)


def _refuse_unnamed_code(run: "Run", rewards: Path | None) -> None:
    """Raises UserError if scoring would run a Python file that the run's record names, and the user does not."""
    recorded = run.config.rewards
    if not run.config.has_own_rewards:
        if rewards:
            raise UserError(f"--rewards {rewards}: {run.path} uses the preset {recorded}: leave --rewards out")
    elif rewards is None or real_path(rewards) != real_path(recorded):
        raise UserError(f"{run.path}: its rewards are Python code in {recorded}: give --rewards {recorded} to run it")


def report(folder: RunFolder, lang: Lang = ENGLISH, json: Json = False) -> None:
    """Write the report of a run again, from its stored scores."""
    from harness.cli.stage_functions import run_stage
    from harness.storage.run_folder import Run
    from reports import texts

    run = Run.open(folder)
    run.lock()
    run.finished_sides()
    with texts.using(lang):
        run_stage(run, "report", quiet=True)
    show.results(run, json)
