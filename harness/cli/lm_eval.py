"""What lm-eval needs of us: where our tasks for it are."""

import typer

lm_eval = typer.Typer(help="Our tasks for lm-eval: where they are.", rich_markup_mode=None)


@lm_eval.command()
def path() -> None:
    """The folder of our tasks, for lm_eval's --include_path."""
    from harness.lmeval import OURS

    print(OURS)
