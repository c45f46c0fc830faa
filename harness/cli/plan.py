"""The command plan: what a run would do and take, in one screen."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import show
from harness.cli.options import OUTPUT, TRAINING, Json, takes_configuration
from harness.cli.run import RUNS, Output
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.config import Configuration

UNKNOWN = "unknown"
# Smaller differences take more problems than there are.
LEAST_DETECTED = 0.0001
# A percentage point, in a sentence.
POINTS = " pp", " points"


@takes_configuration
def plan(
    config: "Configuration",
    before_after: Annotated[
        bool, typer.Option("--before-after", help="Plan the training too.", rich_help_panel=TRAINING)
    ] = False,
    detect: Annotated[
        float | None,
        typer.Option("--detect", help="Say how many problems a difference needs: 0.05 is 5 points.", metavar="SHARE"),
    ] = None,
    details: Annotated[
        bool,
        typer.Option("--details", help="Every estimate with its source, and every setting.", rich_help_panel=OUTPUT),
    ] = False,
    output: Output = None,
    json: Json = False,
) -> int:
    """Show what a run would do, what it would take, and how small a change it could see; starts nothing.

    Exit code 2 where this machine would refuse the run.
    """
    from harness.cli.run_checks import check_names, check_stop_early, refusal_of_size
    from harness.data.datasets import settle_split
    from harness.evaluation import training_seeds
    from harness.plan import make_plan
    from harness.plan.case import size_of, this_machine
    from harness.stages import of_run, state_names

    if detect is not None and not LEAST_DETECTED <= detect < 1:
        raise UserError(
            f"--detect {detect:g}: not a share from {LEAST_DETECTED} to 1: give 0.05 for 5 percentage points"
        )
    training_seeds.check(config, before_after)
    stages = of_run(config, before_after)
    config = settle_split(config, trains="train" in stages)
    check_names(config)
    check_stop_early(config, stages)
    names = [part for stage in stages for part in state_names(stage)]
    folder = output or RUNS / config.folder_name
    parameters = size_of(config).parameters or 0
    made = make_plan(config, names, folder, RUNS, this_machine(), _trainer(config, parameters), detect)
    refusal = refusal_of_size(config.checkpoint, parameters) if "train" in stages else ""
    if json:
        show.line("", True, ({"refused": refusal} if refusal else {}) | made)
    elif details:
        _print_details(made)
    else:
        show.entries(summary(made))
    if refusal:
        raise UserError(f"this machine would refuse the run: {refusal}")
    return 0


def _trainer(config: "Configuration", parameters: float):
    """The trainer of this machine; a hub id whose files are not here is taken for a text-only model.

    `parameters` are the model's, 0 if they are not known.
    """
    from harness.config import EMBEDDED
    from harness.models import checkpoints
    from harness.plan.case import Trainer
    from train.backends import LARGEST_ON_CPU, fitted, trainer_name

    name = trainer_name(config, parameters)
    folder = checkpoints.folder_here(config.checkpoint) or checkpoints.locate(EMBEDDED)
    fits, replaced = fitted(config.model_copy(update={"checkpoint": str(folder)}), name)
    effective = fits.model_copy(update={"checkpoint": config.checkpoint})
    return Trainer(name, effective, replaced, LARGEST_ON_CPU)


def summary(made: dict[str, Any]) -> list[tuple[str, str]]:
    """A plan in a few entries, each (what, text): no sources and no settings."""
    memory = made["memory"]
    rows = [
        ("stages", ", ".join(made["stages"])),
        ("trainings", str(made.get("trainings", ""))),
        ("run folder", made["run folder"]),
        ("problems", f"{made['problems']}{_replies(made['replies a side'])}"),
        ("time", _time(made)),
        ("machine", memory["this machine"]),
        *((f"memory, {name}", _short(memory[name])) for name in ("evaluation", "training") if name in memory),
        ("can show", _difference(made["detectable difference"])),
        ("problems needed", made.get("problems needed", "")),
        *((f"stop early, {name}", text) for name, text in made.get("stop early", {}).items()),
    ]
    if isinstance(made["replaced here"], dict):
        rows += [(f"{key} here", text) for key, text in made["replaced here"].items()]
    rows.append(("more", "--details: every source and setting; --json: the same for a program"))
    return [(name, text) for name, text in rows if text]


def _replies(count: int | str | dict[str, int]) -> str:
    if isinstance(count, dict):
        return "".join(f", {each} replies {side}" for side, each in count.items())
    return "" if count == UNKNOWN else f", {count} replies a side"


def _time(made: dict[str, Any]) -> str:
    """The time of all stages, then of each; of those that are not known, why."""
    from harness.plan.seconds import time_shown

    known = {name: taken for name, taken in made["seconds"].items() if taken != UNKNOWN}
    reasons = [made["seconds from"][name] for name in made["seconds"] if name not in known]
    each = ", ".join(f"{name} {time_shown(taken)}" for name, taken in known.items())
    total = UNKNOWN if reasons else f"{time_shown(made['seconds in all'])} in all"
    return "; ".join([f"{total}: {each}" if each else total, *dict.fromkeys(reasons)])


def _difference(text: str) -> str:
    if text == UNKNOWN:
        return "unknown, as the number of problems is: give --limit N"
    least, _, _ = text.partition(" (")
    if least == "none":
        return "no difference, as there are too few problems"
    return f"a difference of {least.replace(*POINTS)} or more (4 of 5 such runs find it)"


def _short(estimate: str) -> str:
    return estimate.partition("; ")[0]


def _print_details(made: dict[str, Any]) -> None:
    """Every entry of a plan, one per line."""
    for key, value in made.items():
        if isinstance(value, dict):
            show.say(f"{key}:")
            for name, each in value.items():
                show.say(f"  {name} = {each}")
        else:
            show.say(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
