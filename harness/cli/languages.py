"""The command languages: which languages a model reasons in, with and without an adapter."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import MEASUREMENT, Json, Quiet, takes_configuration
from harness.cli.run import Fresh, Output, ended, open_run
from harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config import Configuration
    from harness.statistics.language_count import LanguageCount


@takes_configuration
def languages(
    config: "Configuration",
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="How many problems to ask.", rich_help_panel=MEASUREMENT)
    ] = 20,
    language: Annotated[
        str, typer.Option("--target", "--language", help="The language that is counted.", rich_help_panel=MEASUREMENT)
    ] = "id",
    output: Output = None,
    fresh: Fresh = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Count the languages of the reasoning, with and without the adapter, and say whether so few samples can tell."""
    from harness.config import check
    from harness.evaluation import pipeline
    from harness.parsing.language import NO_TARGET
    from harness.stages import BOTH, state_names
    from harness.statistics import language_count

    if language == NO_TARGET:
        raise UserError("--target none: there is nothing to count: give a language")
    if config.baseline_samples is not None:
        raise UserError("baseline_samples: this command asks one reply per problem of each side: leave it out")
    if config.stop_early:
        raise UserError("--stop-early: this command counts all of its few samples: leave it out")
    config = check(config.model_dump() | {"limit": samples, "samples": 1, "language": language})
    target = config.target_language
    stage = BOTH if config.adapter else "before"
    run = open_run(config, output, fresh, [stage], quiet)
    code = pipeline.run_stages(run, [stage], quiet, show.nothing if quiet else show.note)
    if code:
        return ended(run, code)
    sides = [run.evaluation(side) for side in state_names(stage)]
    counts = [language_count.count(side, target) for side in sides]
    difference = language_count.difference(sides[0].scores, sides[1].scores, target) if len(sides) == 2 else None
    sentences = language_count.in_words(counts, difference, target)
    if json:
        show.line("", True, {
            "run": str(run.path), "target": target, "sides": [asdict(count) for count in counts],
            "difference": asdict(difference) if difference else None, "words": sentences,
        })  # fmt: skip
        return 0
    _print_counts(counts, target)
    if difference:
        print(
            f"Fisher's exact test p = {difference.fisher:.2f}; paired exact test (McNemar) p = {difference.paired:.2f}"
        )
    for sentence in sentences:
        show.say(sentence)
    return 0


def _print_counts(counts: "Sequence[LanguageCount]", target: str) -> None:
    show.table(
        ("adapter", target, "share", "95 % interval (Wilson)", "languages"),
        [
            (
                "with" if count.side == "after" else "without", f"{count.hits}/{count.n}",
                f"{count.hits / count.n:.0%}", f"{count.low:.0%} … {count.high:.0%}",
                ", ".join(f"{name} {each}" for name, each in count.languages.items()),
            )
            for count in counts
        ],
    )  # fmt: skip
