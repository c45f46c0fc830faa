"""The command lm-eval path: where our tasks for lm-eval are."""

import typer

from harness.cli.options import print_help

lm_eval = typer.Typer(help="Our tasks for lm-eval: where they are.", rich_markup_mode="rich")
lm_eval.callback(invoke_without_command=True)(print_help)


@lm_eval.command()
def path() -> None:
    """Print the folder of our tasks, for lm_eval's --include_path."""
    from harness.lmeval import OURS

    print(OURS)
