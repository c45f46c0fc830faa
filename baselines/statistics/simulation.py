"""Simulated sides for the tables of this folder: replies that are right or not, in the required format or not."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from harness.metric_definitions import definition_of
from harness.statistics.differences import estimate, with_verdicts
from harness.types import Difference

MACHINE = "two x86-64 cores, no GPU"


def drawn(draw: np.random.Generator, right: np.ndarray, layout: np.ndarray) -> dict[str, np.ndarray]:
    """One reply per problem: `right` and `layout` are each problem's chances of a correct answer and of the format."""
    flexible = (draw.random(len(right)) < right).astype(float)
    strict = (draw.random(len(layout)) < layout).astype(float)
    return {"accuracy_flexible": flexible, "format_strict": strict, "accuracy_strict": flexible * strict}


def verdicts(old: dict[str, np.ndarray], new: dict[str, np.ndarray], primary: Sequence[str]) -> dict[str, Difference]:
    """The program's own comparison of two such sides."""
    problems = np.arange(len(next(iter(old.values()))))
    estimates = {name: estimate(definition_of(name), old[name], new[name], problems) for name in old}
    return with_verdicts([estimates], primary)[0]


def write_page(page: Path, text: str) -> None:
    """Print a page and write it, with where it was made."""
    made = f"\nMade on {date.today()} ({MACHINE}) by `python -m baselines.statistics.{page.stem}`.\n"
    print(text + made)
    page.write_text(text + made, encoding="utf-8")
