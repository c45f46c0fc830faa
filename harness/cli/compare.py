"""The command compare: stored runs side by side on one page."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import show
from harness.cli.options import Json, Lang
from harness.errors import UserError, refuse_secrets
from harness.parsing.named_formats import FORMAT_NAMES
from reports.texts import ENGLISH


def compare(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN …",
            help="Run folders, sides of one (RUN/before), baseline files, lm-eval samples or inspect_ai logs.",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Which of them the others are compared with (default: the first).")
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="The folder of the page.")] = Path("comparison"),
    dataset: Annotated[str | None, typer.Option("--dataset", help="For samples: how answers compare.")] = None,
    format: Annotated[str | None, typer.Option("--format", help=f"For samples: {FORMAT_NAMES}.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="For samples: target language, or none.")] = None,
    question_column: Annotated[
        str | None, typer.Option("--question-column", help="For samples: the question's name in their docs.")
    ] = None,
    lang: Lang = ENGLISH,
    json: Json = False,
) -> None:
    """Compare any number of stored runs, paired by problem, on one page."""
    from harness.data.samples import Reading
    from harness.statistics.compare import compare_each, over_common_problems
    from harness.statistics.pairs import common
    from harness.storage.files import write_json
    from reports import texts
    from reports.page import write_comparison

    reading = Reading.of(dataset, format, language, question_column) if dataset and format else None
    sides = _sides(places, reading)
    first = _baseline(sides, places, baseline)
    others = [side for side in sides.values() if side is not first]
    for other in others:
        if not common(first, other):
            raise UserError(f"{other.name} and {first.name} have no problem in common: compare runs of one dataset")
    _refuse_output(output)
    ranked = over_common_problems([first, *others])
    comparisons = compare_each(first, others)
    command = shlex.join(["harness", *sys.argv[1:]])
    refuse_secrets({"the command": command})
    write_json(
        output / "comparison.json",
        {
            "baseline": first.name,
            "metrics": {side.name: {name: vars(each) for name, each in side.metrics.items()} for side in ranked},
            "against": {other.name: each.as_dict() for other, each in zip(others, comparisons, strict=True)},
        },
    )
    with texts.using(lang):
        write_comparison(output, [first, *others], ranked, comparisons, command)
    if not json:
        show.standings(ranked, comparisons)
    page = output / "index.html"
    show.line(f"page: {page}", json, {"page": str(page), "comparison": str(output / "comparison.json")})


def _sides(places: list[str], reading) -> dict:
    """Each place's side by its name: all sides of a single run, the last side of each of several."""
    from dataclasses import replace

    from harness.evaluation.sides import load

    loaded = {place: load(place, reading) for place in dict.fromkeys(places)}
    if len(loaded) == 1:
        sides = [(place, each) for place, loaded_sides in loaded.items() for each in loaded_sides]
    else:
        sides = [(place, loaded_sides[-1]) for place, loaded_sides in loaded.items()]
    if len(sides) < 2:
        raise UserError(f"{places[0]}: one side alone: give two or more to compare")
    named = {}
    for place, side in sides:
        name = side.name if side.name not in named else f"{side.name} ({place})"
        named[name] = replace(side, name=name)
    return named


def _baseline(sides: dict, places: list[str], name: str | None):
    from harness import registry

    if name is None:
        return next(iter(sides.values()))
    by_place = dict(zip(dict.fromkeys(places), sides.values(), strict=False)) if len(places) > 1 else {}
    if name in by_place:
        return by_place[name]
    return sides[registry.choose("baseline", name, sides)]


def _refuse_output(output: Path) -> None:
    """Raises UserError if a folder cannot be written, or has anything but an older page of ours."""
    from harness.storage.files import finished_names, read_json
    from harness.storage.links import make_folder

    make_folder(output)
    older = output / "comparison.json"
    stored = read_json(older) if older.is_file() and not (output / "run.json").exists() else None
    is_ours = isinstance(stored, dict) and "against" in stored
    if not is_ours and finished_names(output):
        raise UserError(f"--output {output}: not empty and not a comparison: give another folder")
