"""The commands that list, one line each: models, datasets, recipes, presets; and what this machine can run: doctor."""

import typer

from harness.cli import show


def models() -> None:
    """List the models that have a recipe."""
    from harness.configure import read_recipe, recipe_names

    for name in recipe_names():
        print(f"{name}: {read_recipe(name)['checkpoint']}")


def datasets() -> None:
    """List the datasets that have a name."""
    from harness.data.datasets import DATASETS, about

    for name in DATASETS:
        show.say(f"{name}: {about(name)}")
    show.say("any .jsonl, .json, .csv or .parquet file, saved dataset, or a folder of them: --dataset PATH")
    show.say("any dataset of the hub: --dataset OWNER/NAME, or OWNER/NAME:CONFIG")


def recipes() -> None:
    """List the recipes, each with its command."""
    from harness.configure import RECIPES, recipe_names

    for name in recipe_names():
        command = (RECIPES / f"{name}.toml").read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")
        print(f"{name}: {command}")


def presets() -> None:
    """List the reward presets."""
    from harness.rewards import PRESETS

    for name, preset in PRESETS.items():
        show.say(f"{name}: {preset.format}: {preset.about}")


def doctor() -> None:
    """Show what this machine can run, with the fix for what is missing."""
    from harness.plan.doctor import examine

    findings = examine()
    for finding in findings:
        show.say(f"{'ok  ' if finding.ok else 'MISS' if finding.needed else 'none'} {finding.name}: {finding.text}")
    if not all(finding.ok for finding in findings if finding.needed):
        show.note("harness: something that every run needs is missing: see the lines with MISS")
        raise typer.Exit(2)
