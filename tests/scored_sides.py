"""Sides made of scores alone, for the tests of comparisons and gates."""

from harness.statistics.compare import metrics_of
from harness.types import Completion, Evaluation, Score

SETTINGS = {"dataset": "gsm8k", "format": "xml", "language": "en", "temperature": 0.0, "engine": "auto"}


def side(right: list[int], name: str = "run/before", prompt: str = "p", first: int = 0, **more) -> Evaluation:
    """Replies that are right (1) or wrong (0), one problem each from `first` on; `more` are other metrics' values."""
    completions = [Completion(f"q{first + n}", 0, "?", "1", "x", 2, "stop", prompt, 0) for n in range(len(right))]
    scores = []
    for n, value in enumerate(right):
        values = {"accuracy_strict": float(value)} | {key: column[n] for key, column in more.items()}
        scores.append(Score(f"q{first + n}", 0, "1", "en", values, {}))
    provenance = {"engine": "transformers", "versions": {"torch": "2.13.0"}}
    return Evaluation(name, tuple(completions), tuple(scores), metrics_of(scores), provenance, dict(SETTINGS))
