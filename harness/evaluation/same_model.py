"""Whether a server still runs the model with which it started a side: the rule, in one place.

A few fixed questions are asked greedily, on the very way of the replies: twice before a side's first reply, and again
where the side is continued and after its last reply. Servers generate in batches, so their greedy answers may differ by
themselves. Therefore only steady answers count, those to questions that were answered twice alike, and one has changed
only where neither of two later answers is the first one. It is another model where two steady answers or more, and more
than half of them, have changed, or where the server gave its completions under more than one model's name; what it
calls its configuration (`system_fingerprint`) is noted alone, as hosted servers change that with each update.

Another model ends a run that is continued before anything is generated; found after the last reply, it is a warning on
the report's first screen. This finds restarts, routers and updates; a server that knows the questions can hide them.
"""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from harness.console import progress
from harness.engines import SERVER, engine_name
from harness.errors import UserError
from harness.evaluation.generation import Job
from harness.findings import SameModel, same_model
from harness.stages import BASE
from harness.types import Problem, Request, Sampling

if TYPE_CHECKING:
    from harness.engines.openai import OpenAIEngine

QUESTIONS = (
    "Count from one to ten in words.",
    "Name three colours and three animals.",
    "What is the capital of France, and what is it known for?",
    "Say the days of the week in reverse order.",
    "Why does ice float on water? Answer in one sentence.",
    "Write one sentence about the sea.",
)
GREEDY = Sampling(1, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, max_tokens=24, seed=0)


def check_start(job: Job) -> None:
    """Record a server's answers for each side that starts, and compare them with those of a side that continues.

    Raises UserError if another model started it.
    """
    if engine_name(job.run.config.engine) != SERVER or not job.missing:
        return
    for side, record in job.records.items():
        started = same_model(record)
        if started is None:
            first, second = _answers(job, side), _answers(job, side)
            steady = tuple(one if one == other else None for one, other in zip(first, second, strict=True))
            started = _with_names(job, side, SameModel(steady, None, (), ()))
        else:
            started = _compared(job, side, started)
        if started.is_another:
            words = started.in_words(side)
            raise UserError(f"{job.run.path}: {words}: serve that one again, or start over with --fresh")
        _record(job, side, replace(started, changed=None))


def check_end(job: Job) -> None:
    """Compare a server's answers after the last completion with those before the first, and record what changed."""
    for side, record in job.records.items():
        started = same_model(record)
        if started and started.changed is None:
            ended = _compared(job, side, started)
            _record(job, side, ended)
            if ended.is_another:
                progress.note(ended.in_words(side), job.quiet)


def _compared(job: Job, side: str, started: SameModel) -> SameModel:
    """The record of a side with how many of its steady answers have changed by now."""
    changed = {place for place, answer in enumerate(started.answers) if answer is not None}
    for _ in range(2):
        if changed:
            answers = _answers(job, side)
            changed = {place for place in changed if answers[place] != started.answers[place]}
    return _with_names(job, side, replace(started, changed=len(changed)))


def _with_names(job: Job, side: str, known: SameModel) -> SameModel:
    """The record of a side with all names that the server gave so far."""
    engine: OpenAIEngine = job.engine
    # None yet where no fixed question had a steady answer to ask for again.
    named = engine.named[side != BASE]
    return replace(
        known,
        models=tuple(sorted({*known.models, *(model for model, _ in named)} - {""})),
        configurations=tuple(sorted({*known.configurations, *(configuration for _, configuration in named)} - {""})),
    )


def _record(job: Job, side: str, known: SameModel) -> None:
    job.records[side]["same_model"] = asdict(known)
    job.run.record.set_provenance(side, job.records[side])


def _answers(job: Job, side: str) -> list[str]:
    """A server's answers to the questions, by the model of a side."""
    requests = [
        Request(Problem(question, question, None), 0, job.engine.render([{"role": "user", "content": question}]),
                "", "", GREEDY.seed, place, side != BASE)
        for place, question in enumerate(QUESTIONS)
    ]  # fmt: skip
    finished = (each for batch in job.engine.generate(requests, frozenset(), GREEDY) for _, each in batch)
    return [each.text for each in sorted(finished, key=lambda each: each.position)]
