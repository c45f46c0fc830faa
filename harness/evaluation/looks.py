"""Replies in a random order, look by look, until the primary metric's difference is clear.

What a look decides follows from the replies in the journal alone, so a run that was killed comes to the same end. An
engine is handed a look's requests as a whole: what a place draws depends on its look and not on what is done already.
"""

from collections.abc import Callable, Mapping, Sequence

from harness.console import progress
from harness.evaluation.scoring import score_all
from harness.statistics import sequential
from harness.statistics.differences import measured
from harness.statistics.pairs import paired_values
from harness.storage.run_folder import Run
from harness.storage.stages import BASE, LAST
from harness.types import Dataset, Evaluation, Problem, Request, Score, StoppedEarly, definition_of

Requests = Mapping[str, Sequence[Request]]


def of(run: Run, dataset: Dataset) -> list[tuple[Problem, ...]]:
    """The problems that each look adds."""
    ordered, ends = sequential.in_order(dataset.problems, run.config.seed), sequential.looks_at(len(dataset.problems))
    return [tuple(ordered[start:end]) for start, end in zip((0, *ends), ends, strict=False)]


def asked_at(look: Sequence[Problem], wanted: Sequence[Request]) -> list[Request]:
    """A side's requests to the problems of a look."""
    added = {problem.id for problem in look}
    return [request for request in wanted if request.problem.id in added]


def generate_until_clear(
    run: Run, dataset: Dataset, wanted: Requests, draw: Callable[[Requests], None], quiet: bool
) -> tuple[StoppedEarly, dict[str, list[Score]]]:
    """Draw what is `wanted` look by look; where it ended, and the scores of each side's replies so far.

    A side that is not wanted, the base of a whole run, is there already.
    """
    sides = {side: _Graded(run, side, dataset) for side in wanted}
    base = run.evaluation(BASE) if BASE not in wanted else None
    looks, levels = of(run, dataset), sequential.levels(len(dataset.problems))
    problems = 0
    for number, look in enumerate(looks, start=1):
        draw({side: asked_at(look, requests) for side, requests in wanted.items()})
        problems += len(look)
        for side in sides.values():
            side.grade(look)
        stopped = StoppedEarly(run.config.primary, number, len(looks), problems, len(dataset.problems), levels)
        if _is_clear(stopped, base or sides[BASE].evaluation, sides[LAST].evaluation, quiet):
            break
    return stopped, {name: side.scores for name, side in sides.items()}


class _Graded:
    """A side's replies to the problems of the looks so far, each graded once."""

    def __init__(self, run: Run, side: str, dataset: Dataset):
        self.run, self.side, self.equality = run, side, dataset.equality
        self.completions, self.scores = [], []

    def grade(self, look: Sequence[Problem]) -> None:
        added = {problem.id for problem in look}
        new = [each for each in self.run.completions(self.side) if each.problem_id in added]
        self.completions += new
        self.scores += score_all(new, self.run.config, self.equality)

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation(self.side, tuple(self.completions), tuple(self.scores), {}, {})


def _is_clear(stopped: StoppedEarly, before: Evaluation, after: Evaluation, quiet: bool) -> bool:
    """Whether the difference is significant at the look's own level."""
    found, kind = paired_values(before, after), definition_of(stopped.metric)
    values = (side.get(stopped.metric) for side in (found.before, found.after))
    difference = measured(kind, *values, found.problems, stopped.level) if len(found.problems) else {"p_value": None}
    p_value = difference["p_value"]
    seen = "nothing to compare yet"
    if p_value is not None:
        delta = kind.show(difference["delta"], signed=True)
        seen = f"{stopped.metric} {delta}, p = {p_value:.2g}, clear below {stopped.level:.2g}"
    progress.note(f"look {stopped.look} of {stopped.looks}: {stopped.problems} problems: {seen}", quiet)
    return p_value is not None and p_value < stopped.level
