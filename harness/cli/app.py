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
    rewards,
    run,
    stored_runs,
    view,
)
from harness.version import __version__

app = typer.Typer(
    help="Measure a base model, train it with GRPO, measure it again, and say what changed.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    run.run, run.eval, run.train, run.plan, stored_runs.score, stored_runs.report, ask.ask, grade.grade, gate.gate,
    languages.languages, export.export, compare.compare, view.view, crosscheck.crosscheck,
    lists.models, lists.datasets, lists.recipes, lists.presets, lists.doctor,
):  # fmt: skip
    app.command()(command)
app.add_typer(rewards.rewards, name="rewards", no_args_is_help=True)
app.add_typer(lm_eval.lm_eval, name="lm-eval", no_args_is_help=True)


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
        print(context.get_help())
