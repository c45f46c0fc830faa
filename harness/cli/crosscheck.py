"""The command crosscheck: a stored run scored by lm-eval's filters and math-verify."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import Json
from harness.metric_definitions import definition_of
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Evaluation

if TYPE_CHECKING:
    from harness.lmeval.crosscheck import CheckedReply, Summary

HEAD = ("side", "grader", "right", "replies", "agrees", "only they", "only we", "no answer", "too long")
SHOWN = 20
LONGEST_TEXT = 40
END_OF_REPLY = 80


def crosscheck(
    place: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or one side of it: RUN/before.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Score a run's replies with lm-eval's own gsm8k filters and with math-verify; show where they disagree.

    Each reads the whole reply as it is stored, where lm-eval would have stopped at "Question:". Its filters read plain
    numbers whatever the dataset, strict-match only those after "####", which no format of ours asks for; math-verify
    reads no number that follows a tag without a space. "only they" and "only we" count the replies that one alone
    scores as correct; all of them go to RUN/crosscheck.jsonl. Replies that we could not score are left out.
    """
    from harness.lmeval import crosscheck as scorers
    from harness.storage.files import write_lines

    graders = scorers.graders()
    run, sides = scorers.stored_sides(place)
    checked = {side.name: scorers.check(side, graders) for side in sides}
    all_replies = [each for replies in checked.values() for each in replies]
    file = run.path / scorers.FILE
    rows = [each.row(grader) for each in all_replies for grader in graders if each.disagrees(grader)]
    write_lines(file, rows)
    summaries = {
        side: {grader: scorers.summarise(replies, grader) for grader in graders} for side, replies in checked.items()
    }
    _note_unscored(sides)
    if not json:
        _print_table(sides, summaries)
        for side, replies in checked.items():
            for grader in graders:
                _print_disagreements(side, grader, [each for each in replies if each.disagrees(grader)])
    results = {side.name: _as_dict(side, summaries[side.name]) for side in sides}
    show.line(
        f"{len(rows)} disagreements: {file}",
        json,
        {"run": str(run.path), "output": str(file), "disagreements": len(rows), "sides": results},
    )


def _print_table(sides: Sequence[Evaluation], summaries: Mapping[str, Mapping[str, "Summary"]]) -> None:
    rows = []
    for side in sides:
        for name in (ACCURACY_STRICT, ACCURACY_FLEXIBLE):
            ours = side.metrics[name]
            rows.append((side.name, name, definition_of(name).show(ours.mean), str(ours.n), "", "", "", "", ""))
        rows += [(side.name, grader, *_cells(each)) for grader, each in summaries[side.name].items()]
    show.table(HEAD, rows)


def _note_unscored(sides: Sequence[Evaluation]) -> None:
    for side in sides:
        if unscored := side.metrics[ACCURACY_FLEXIBLE].unscored:
            show.note(f"{side.name}: {unscored} replies left out, which {ACCURACY_FLEXIBLE} could not score")


def _cells(summary: "Summary") -> tuple[str, ...]:
    share = definition_of(ACCURACY_FLEXIBLE).show
    counts = (summary.only_they, summary.only_we, summary.no_answer, summary.too_long)
    return share(summary.right), str(summary.n), share(summary.agreement), *map(str, counts)


def _as_dict(side: Evaluation, summaries: Mapping[str, "Summary"]) -> dict:
    ours = {name: side.metrics[name].mean for name in (ACCURACY_STRICT, ACCURACY_FLEXIBLE)}
    metric = side.metrics[ACCURACY_FLEXIBLE]
    graders = {grader: asdict(each) for grader, each in summaries.items()}
    return {"n": metric.n, "unscored": metric.unscored, **ours, "graders": graders}


def _print_disagreements(side: str, grader: str, disagreeing: Sequence["CheckedReply"]) -> None:
    if not disagreeing:
        return
    print(f"{side}, {grader}: {len(disagreeing)} disagreements")
    for each in disagreeing[:SHOWN]:
        completion, score = each.completion, each.grader_scores[grader]
        theirs, ours = ("right", "wrong") if score.right else ("wrong", "right")
        print(
            f"  {_short(completion.problem_id)} #{completion.index} truth {_short(completion.answer)}: they read "
            f"{_short(score.extracted)}, {theirs}; we read {_short(each.score.extracted)}, {ours}"
        )
        print(f"    {show.printable(completion.reply[-END_OF_REPLY:])}")
    if len(disagreeing) > SHOWN:
        print(f"  and {len(disagreeing) - SHOWN} more")


def _short(text: str | None) -> str:
    shown = show.printable(text)
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}…"
