"""Scores and metrics of a side's stored completions; no model is loaded."""

from collections.abc import Sequence

from harness.config import Configuration
from harness.console import progress
from harness.errors import UserError
from harness.evaluation.scoring import score_all
from harness.statistics.compare import metrics_of
from harness.storage.run_folder import Run
from harness.types import Completion, Score

CHUNK = 100


def score_side(
    run: Run,
    side: str,
    completions: Sequence[Completion],
    quiet: bool,
    known: Sequence[Score] = (),
    config: Configuration | None = None,
) -> None:
    """Score a side's completions (again), and write scores.jsonl and metrics.json.

    `completions` are all of the side; those in `known` are scored already; `config` None is the run's. Raises UserError
    if run.json does not say how answers compare.
    """
    config = config or run.config
    scores = {each.place: each for each in known}
    missing = [each for each in completions if each.place not in scores]
    equality = run.record.provenance.get(side, {}).get("equality")
    if equality is None:
        raise UserError(f"{run.path / 'run.json'}: does not say how answers of {side} compare: run again with --fresh")
    with progress.bar(f"{side} scores", len(completions), len(scores), quiet) as bar:
        for start in range(0, len(missing), CHUNK):
            new = score_all(missing[start : start + CHUNK], config, equality)
            scores |= {each.place: each for each in new}
            bar.advance(len(new))
    ordered = [scores[each.place] for each in completions]
    run.write_scores(side, ordered, metrics_of(ordered))
