"""Every command by name."""

from typing import Annotated

import typer

from harness.cli import (
    ask,
    compare,
    crosscheck,
    export,
    gate,
    grade,
    languages,
    lists,
    lm_eval,
    plan,
    rewards,
    run,
    settings,
    stored_runs,
    view,
)
from harness.version import __version__

FIRST_DAY = """harness {version}
{about}

The first day, with the embedded model: no GPU, no account, no download.

  harness ask \\
      "Ani puts eggs in 6 rows with 12 in each row. How many eggs is that?"
      one question: the reply, and how it is read
  harness run --before-after
      measure, train, measure again and report, in about 2 minutes
  harness plan --model smollm2-135m --before-after
      what the same would take with a larger model

All commands: harness --help
"""
RUNS, STORED, MODELS, LISTS = "Runs", "Stored runs and replies", "One model", "What there is"

app = typer.Typer(
    help="Measure a model, train it with GRPO, measure it again, and say what changed.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
PANELS = {
    RUNS: (run.run, plan.plan, run.eval, run.train),
    STORED: (
        stored_runs.report, stored_runs.score, compare.compare, view.view, gate.gate, grade.grade,
        crosscheck.crosscheck,
    ),
    MODELS: (ask.ask, languages.languages, export.export),
    LISTS: (lists.models, lists.datasets, lists.recipes, lists.presets, settings.settings, lists.doctor),
}  # fmt: skip
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(rewards.rewards, name="rewards", rich_help_panel=STORED)
app.add_typer(lm_eval.lm_eval, name="lm-eval", rich_help_panel=LISTS)


def _print_version(is_given: bool) -> None:
    if is_given:
        print(f"harness {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(FIRST_DAY.format(version=__version__, about=app.info.help), end="")
