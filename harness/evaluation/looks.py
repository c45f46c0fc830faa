"""Completions in a random order of the problems, look by look, until the primary metric's difference is clear.

What a look decides follows from the completions in the journal alone, so a run that was killed comes to the same end.
An engine is handed a look's requests as a whole: what is generated at a place depends on its look and not on what is
done already.
"""

from collections.abc import Callable, Mapping, Sequence

from harness.console import progress
from harness.evaluation.scoring import score_all
from harness.findings import StoppedEarly
from harness.metric_definitions import definition_of
from harness.stages import BASE, LAST
from harness.statistics import sequential
from harness.statistics.differences import estimate
from harness.statistics.pairs import paired_values
from harness.storage.run_folder import Run
from harness.types import Dataset, Evaluation, Problem, Request, Score

Prompts = Mapping[str, Sequence[Request]]


def problems_by_look(run: Run, dataset: Dataset) -> list[tuple[Problem, ...]]:
    """The problems that each look adds."""
    ordered, ends = sequential.in_order(dataset.problems, run.config.seed), sequential.looks_at(len(dataset.problems))
    return [tuple(ordered[start:end]) for start, end in zip((0, *ends), ends, strict=False)]


def requests_of(look: Sequence[Problem], requests: Sequence[Request]) -> list[Request]:
    """A side's requests for the problems of a look."""
    added = {problem.id for problem in look}
    return [request for request in requests if request.problem.id in added]


def generate_until_clear(
    run: Run, dataset: Dataset, prompts: Prompts, generate: Callable[[Prompts], None], quiet: bool
) -> tuple[StoppedEarly, dict[str, list[Score]]]:
    """Generate the completions of `prompts` look by look; where it ended, and each side's scores so far.

    A side without prompts, the base of a whole run, is there already.
    """
    sides = {side: _ScoredSide(run, side, dataset) for side in prompts}
    base = run.evaluation(BASE) if BASE not in prompts else None
    looks, levels = problems_by_look(run, dataset), sequential.levels(len(dataset.problems))
    problems = 0
    for number, look in enumerate(looks, start=1):
        generate({side: requests_of(look, requests) for side, requests in prompts.items()})
        problems += len(look)
        for side in sides.values():
            side.score(look)
        stopped = StoppedEarly(run.config.primary, number, len(looks), problems, len(dataset.problems), levels)
        if _is_clear(stopped, base or sides[BASE].evaluation, sides[LAST].evaluation, quiet):
            break
    return stopped, {name: side.scores for name, side in sides.items()}


class _ScoredSide:
    """A side's completions of the looks so far, each scored once."""

    def __init__(self, run: Run, side: str, dataset: Dataset):
        self.run, self.side, self.equality = run, side, dataset.equality
        self.completions, self.scores = [], []

    def score(self, look: Sequence[Problem]) -> None:
        added = {problem.id for problem in look}
        new = [each for each in self.run.completions(self.side) if each.problem_id in added]
        self.completions += new
        self.scores += score_all(new, self.run.config, self.equality)

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation(self.side, tuple(self.completions), tuple(self.scores), {}, {})


def _is_clear(stopped: StoppedEarly, before: Evaluation, after: Evaluation, quiet: bool) -> bool:
    """Whether the difference is significant at the look's own level."""
    paired, definition = paired_values(before, after), definition_of(stopped.metric)
    p_value, seen = None, "nothing to compare yet"
    if len(paired.problems):
        values = (side.get(stopped.metric) for side in (paired.before, paired.after))
        difference = estimate(definition, *values, paired.problems, stopped.level)
        p_value = difference.p_value
    if p_value is not None:
        delta = definition.show(difference.delta, signed=True)
        seen = f"{stopped.metric} {delta}, p = {p_value:.2g}, clear below {stopped.level:.2g}"
    progress.note(f"look {stopped.look} of {stopped.looks}: {stopped.problems} problems: {seen}", quiet)
    return p_value is not None and p_value < stopped.level
