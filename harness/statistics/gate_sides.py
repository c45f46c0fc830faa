"""The two sides of a gate: which replies of both are compared, and what they are with all that is lost at its worst."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from operator import attrgetter
from pathlib import PurePath

from harness.findings import stopped_early
from harness.metric_definitions import definition_of
from harness.types import Completion, Evaluation, Score

Reply = tuple[Completion, Score]


def places_of(side: Evaluation) -> set[tuple[str, int]]:
    return {each.place for each in side.completions}


def _asked(side: Evaluation) -> int | None:
    """How many replies per problem a side was asked for; None where that is not recorded."""
    samples, adapters = side.settings.get("samples"), side.settings.get("training_seeds")
    if not side.provenance.get("adapter"):
        return side.settings.get("baseline_samples") or samples
    return samples and samples * (adapters or 1)


def compared_places(side: Evaluation, baseline: Evaluation) -> set[tuple[str, int]]:
    """The places that both have; where one was asked for more replies than the other, all of the problems of both."""
    now, then = places_of(side), places_of(baseline)
    if _asked(side) == _asked(baseline):
        return now & then
    problems = {problem for problem, _ in now} & {problem for problem, _ in then}
    return {place for place in now | then if place[0] in problems}


def with_file_by_name(side: Evaluation) -> Evaluation:
    """A side whose dataset goes by its name alone: a file lies elsewhere on another machine."""
    return replace(side, settings=side.settings | {"dataset": PurePath(str(side.settings.get("dataset"))).name})


def lost_replies(side: Evaluation, baseline: Evaluation) -> set[tuple[str, int]]:
    """The replies that the side should have as the baseline has them; where fewer problems were asked none is lost."""
    alike = all(side.settings.get(key) == baseline.settings.get(key) for key in ("limit", "split"))
    whole = alike and not stopped_early(side.provenance)
    missing, asked = places_of(baseline) - places_of(side), _asked(side)
    return {place for place in missing if asked is None or place[1] < asked} if whole else set()


def at_worst(
    baseline: Evaluation, old: Evaluation, new: Evaluation, lost: Set[tuple[str, int]]
) -> tuple[Evaluation, list[Evaluation]]:
    """Both sides with all that is lost, or scored on one side only, as bad as it can have been."""
    # Replies pair one by one, or all of a problem with all.
    partner = attrgetter("place" if _asked(old) == _asked(new) else "problem_id")
    gone = [each for each in _replies(baseline) if each[0].place in lost]
    alone, kept = {partner(score) for _, score in gone}, places_of(old)
    then = [each for each in _replies(baseline) if each[0].place in kept or partner(each[1]) in alone]
    unscored = [(completion, replace(score, scores=dict.fromkeys(score.scores))) for completion, score in gone]
    now = [*_replies(new), *unscored]
    return _filled(old, then, now, partner, 1), [_filled(new, now, then, partner, 0)]


def _replies(side: Evaluation) -> list[Reply]:
    return [*zip(side.completions, side.scores, strict=True)]


def _filled(
    side: Evaluation, replies: Sequence[Reply], others: Sequence[Reply], partner: Callable[[Score], object], good: int
) -> Evaluation:
    """A side of these replies; gaps that their partners have not are 1 where more is better and `good` is, else 0."""
    known = {(partner(each), name) for _, each in others for name, value in each.scores.items() if value is not None}

    def whole(score: Score) -> Score:
        gaps = {
            name: float(good if definition_of(name).better > 0 else 1 - good)
            for name, value in score.scores.items()
            if value is None and (partner(score), name) in known and definition_of(name).percent
        }
        return replace(score, scores=score.scores | gaps) if gaps else score

    completions, scores = zip(*replies, strict=True)
    return replace(side, completions=completions, scores=tuple(map(whole, scores)))


def left_out(whole: Evaluation, compared: Evaluation, other: str) -> list[str]:
    """What of a side has no partner in the other one, in words."""
    replies = len(whole.completions)
    alone = replies - len(compared.completions)
    said = f"{alone} of {replies} replies of {whole.name} have no partner in {other} and are left out"
    return [said] if alone else []
