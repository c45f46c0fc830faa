"""The commands of a whole run and its stages: run, eval, train."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import OUTPUT, TRAINING, Json, Lang, Quiet, takes_configuration
from harness.errors import UserError, refuse_secrets
from reports.texts import ENGLISH

if TYPE_CHECKING:
    from harness.config import Configuration
    from harness.storage.run_folder import Run

RUNS = Path("runs")
REFUSED = 2
NOT_REPEATED = ("--fresh", "--resume", "--quiet", "--json", "--verbose")

Output = Annotated[
    Path | None,
    typer.Option("--output", help="The run folder (default: below runs/).", show_default=False, rich_help_panel=OUTPUT),
]
Fresh = Annotated[
    bool,
    typer.Option("--fresh/--resume", help="Start over (the old folder is kept), or continue.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="One line per reply.", rich_help_panel=OUTPUT)]


@takes_configuration
def run(
    config: "Configuration",
    before_after: Annotated[
        bool, typer.Option("--before-after", help="Train, and evaluate again.", rich_help_panel=TRAINING)
    ] = False,
    output: Output = None,
    fresh: Fresh = False,
    lang: Lang = ENGLISH,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Evaluate the base model; with --before-after also train, evaluate again and compare."""
    from harness import stages
    from harness.evaluation import pipeline, training_seeds
    from train.trackers import tracked

    training_seeds.check(config, before_after)
    names = stages.of_run(config, before_after)
    folder = open_run(config, output, fresh, names, quiet)
    say = show.nothing if quiet else show.note
    tries_toy = show.runs_toy(config) and stages.LAST not in stages.sides_of(names)
    if tries_toy:
        say(f"measuring the embedded model, without training it; {show.TOY}")
    say(f"run folder: {folder.path}")
    if config.training_seeds:
        code = _run_seeds(folder, quiet, say, lang)
    else:
        with tracked(folder, names):
            code = pipeline.run_stages(folder, names, quiet, say, lang=lang)
    if code:
        return ended(folder, code)
    show.results(folder, json)
    if tries_toy:
        say("next: harness run --before-after trains it and compares; harness run --model NAME measures another model")
    return 0


def _run_seeds(folder: "Run", quiet: bool, say: Callable[[str], None], lang: str) -> int:
    """Evaluate the base once, train and evaluate each seed in a run of its own, then compare all of them."""
    from harness import stages
    from harness.evaluation import pipeline, training_seeds
    from train.trackers import tracked

    code = pipeline.run_stages(folder, stages.of_base(folder.config), quiet, say)
    for seed in () if code else training_seeds.seeds(folder.config):
        member = training_seeds.open_seed(folder, seed)
        say(f"training seed {seed}: {member.path}")
        names = stages.of_run(member.config, before_after=True)
        with tracked(member, names):
            code = pipeline.run_stages(member, names, quiet, say, lang=lang)
        if code:
            return code
    return code or pipeline.run_stages(folder, [stages.LAST, stages.REPORT], quiet, say, lang=lang)


@takes_configuration
def eval(
    config: "Configuration",
    output: Output = None,
    fresh: Fresh = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Evaluate one model: the base, or base + --adapter."""
    from harness.cli.stage_functions import run_stage
    from harness.evaluation import training_seeds

    training_seeds.check(config, before_after=False)
    side = "after" if config.adapter else "before"
    folder = open_run(config, output, fresh, [side], quiet)
    print_reply = show.Replies(folder, sys.stderr if json else sys.stdout) if verbose else None
    done_already = folder.record.is_done(side)
    if not done_already:
        try:
            run_stage(folder, side, quiet or verbose, print_reply)
        except UserError:
            folder.remove_if_empty()
            raise
    else:
        folder.check_done(side)
        if not quiet:
            show.note(f"{side}: done already in {folder.path}")
    if done_already and verbose:
        for completion in folder.completions(side):
            print_reply(completion)
    show.results(folder, json)
    return 0


@takes_configuration
def train(
    config: "Configuration", output: Output = None, fresh: Fresh = False, json: Json = False, quiet: Quiet = False
) -> int:
    """Train the adapter of a run, without evaluating it."""
    from harness import stages
    from harness.evaluation import pipeline, training_seeds
    from train.trackers import tracked

    training_seeds.check(config, before_after=False)
    names = stages.of_training(config)
    folder = open_run(config, output, fresh, names, quiet)
    with tracked(folder, names):
        code = pipeline.run_stages(folder, names, quiet, show.nothing if quiet else show.note)
    if code:
        return ended(folder, code)
    show.line(f"adapter: {folder.adapter}", json, {"run": str(folder.path), "adapter": str(folder.adapter)})
    return 0


def ended(folder: "Run", code: int) -> int:
    """The exit code of a run that did not finish; one that was refused before it made anything leaves no folder."""
    if code == REFUSED:
        folder.remove_if_empty()
    return code


def open_run(config: "Configuration", output: Path | None, fresh: bool, stages: list[str], quiet: bool):
    """Check a configuration, then create or continue its run folder, locked."""
    from harness.cli.run_checks import check_run
    from harness.data import datasets
    from harness.evaluation.same_data import refuse_changed_data
    from harness.storage.run_folder import Run

    config = datasets.settle_split(config, trains="train" in stages)
    check_run(config, stages, quiet)
    command = shlex.join(["harness", *(word for word in sys.argv[1:] if word not in NOT_REPEATED)])
    refuse_secrets({"the command": command})
    folder = Run.create(output or RUNS / config.folder_name, config, command, fresh)
    refuse_changed_data(folder)
    if not all(folder.record.is_done(stage) for stage in stages):
        folder.record.set_command(command, config)
    return folder
