"""A stored run under other people's graders: crosscheck."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.results import Json
from harness.types import ANSWERED_BY, FLIPS_BY, Evaluation, definition_of

if TYPE_CHECKING:
    from harness.lmeval.crosscheck import Checked, Standing

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
    numbers whatever the dataset, strict-match none but those behind "####", which no layout of ours asks for;
    math-verify reads no number that follows a tag without a space. "only they" and "only we" count the replies that one
    alone calls right; all of them go to RUN/crosscheck.jsonl. Replies that we could not score are left out.
    """
    from harness.lmeval import crosscheck as room
    from harness.storage.files import write_lines

    graders = room.graders()
    run, sides = room.stored_sides(place)
    checked = {side.name: room.check(side, graders) for side in sides}
    found = [each for replies in checked.values() for each in replies]
    file = run.path / room.FILE
    rows = [each.row(grader) for each in found for grader in graders if each.disagrees(grader)]
    write_lines(file, rows)
    standings = {
        side: {grader: room.standing(replies, grader) for grader in graders} for side, replies in checked.items()
    }
    _print_table(sides, standings)
    for side, replies in checked.items():
        for grader in graders:
            _print_disagreements(side, grader, [each for each in replies if each.disagrees(grader)])
    made = {side.name: _as_dict(side, standings[side.name]) for side in sides}
    said = f"{len(rows)} disagreements: {file}"
    show.line(said, json, {"run": str(run.path), "output": str(file), "disagreements": len(rows), "sides": made})


def _print_table(sides: Sequence[Evaluation], standings: Mapping[str, Mapping[str, "Standing"]]) -> None:
    rows = []
    for side in sides:
        for name in (FLIPS_BY, ANSWERED_BY):
            ours = side.metrics[name]
            rows.append((side.name, name, definition_of(name).show(ours.mean), str(ours.n), "", "", "", "", ""))
        rows += [(side.name, grader, *_cells(each)) for grader, each in standings[side.name].items()]
    show.table(HEAD, rows)
    for side in sides:
        if unscored := side.metrics[ANSWERED_BY].unscored:
            show.note(f"{side.name}: {unscored} replies left out, which {ANSWERED_BY} could not judge")


def _cells(standing: "Standing") -> tuple[str, ...]:
    share = definition_of(ANSWERED_BY).show
    counts = (standing.only_they, standing.only_we, standing.no_answer, standing.too_long)
    return share(standing.right), str(standing.n), share(standing.agreement), *map(str, counts)


def _as_dict(side: Evaluation, standings: Mapping[str, "Standing"]) -> dict:
    ours = {name: side.metrics[name].mean for name in (FLIPS_BY, ANSWERED_BY)}
    metric = side.metrics[ANSWERED_BY]
    graders = {grader: asdict(each) for grader, each in standings.items()}
    return {"n": metric.n, "unscored": metric.unscored, **ours, "graders": graders}


def _print_disagreements(side: str, grader: str, disagreeing: Sequence["Checked"]) -> None:
    if not disagreeing:
        return
    print(f"{side}, {grader}: {len(disagreeing)} disagreements")
    for each in disagreeing[:SHOWN]:
        completion, ruling = each.completion, each.rulings[grader]
        theirs, ours = ("right", "wrong") if ruling.right else ("wrong", "right")
        print(
            f"  {_short(completion.problem_id)} #{completion.index} truth {_short(completion.answer)}: they read "
            f"{_short(ruling.extracted)}, {theirs}; we read {_short(each.score.extracted)}, {ours}"
        )
        print(f"    {show.printable(completion.reply[-END_OF_REPLY:])}")
    if len(disagreeing) > SHOWN:
        print(f"  and {len(disagreeing) - SHOWN} more")


def _short(text: str | None) -> str:
    shown = show.printable(text)
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}…"
