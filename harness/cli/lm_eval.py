"""The command lm-eval path: where our tasks for lm-eval are."""

import typer

lm_eval = typer.Typer(help="Our tasks for lm-eval: where they are.", rich_markup_mode=None)


@lm_eval.command()
def path() -> None:
    """Print the folder of our tasks, for lm_eval's --include_path."""
    from harness.lmeval import OURS

    print(OURS)
