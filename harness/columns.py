"""Which columns of a file hold what, and its rows as Problems."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.types import Problem

QUESTION = ("question", "prompt", "problem")
ANSWER = ("answer", "solution", "expected_answer")
SOLUTION = ("generated_solution", "solution", "reasoning")
# What GSM8K's solutions have and a reply should not: the calculator's marks, <<48/2=24>>, and the answer's own line.
NOT_WORKING = re.compile(r"<<[^<>\s]*=[^<>\s]*>>|\n####[^\n]*\Z")


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns; None is one that the file, or whoever asks, does not name."""

    question: str | None
    answer: str | None
    solution: str | None


def find(rows: list[dict], named: Columns, has_solutions: bool, where: Path | str) -> Columns:
    """The columns that the rows have, of those named, else of the usual ones; a UserError where one is not there.

    A column of worked solutions need not be; only `has_solutions` looks for the usual ones.
    """
    if not rows:
        raise UserError(f"{where}: no rows: give a file that is not empty")
    present = list(dict.fromkeys(key for row in rows for key in row))

    def column(option: str, name: str | None, usual: tuple[str, ...]) -> str:
        wanted = (name,) if name else usual
        for each in wanted:
            if each in present:
                return each
        said = " or ".join(f"'{each}'" for each in wanted)
        raise UserError(f"{where}: no column {said} (columns: {', '.join(map(str, present))}): name it with {option}")

    solutions = (named.solution,) if named.solution else SOLUTION if has_solutions else ()
    return Columns(
        column("--question-column", named.question, QUESTION),
        column("--answer-column", named.answer, ANSWER),
        next((name for name in solutions if name in present), None),
    )


def problems(rows: list[dict], prefix: str, columns: Columns) -> tuple[list[Problem], Counter]:
    """The rows that have a question, numbered in their order, and how many have none, by reason."""
    made, skipped = [], Counter()
    for place, row in enumerate(rows):
        question = _text(row.get(columns.question))
        if question is None:
            skipped[f"no text in column '{columns.question}'"] += 1
            continue
        solution = worked_solution(row.get(columns.solution)) if columns.solution else None
        answer = true_answer(row.get(columns.answer))
        made.append(Problem(f"{prefix}-{place:05d}", question, answer, solution=solution))
    return made, skipped


def _text(value: object) -> str | None:
    return whole_text(value.strip()) if isinstance(value, str) and value.strip() else None


def whole_text(text: str) -> str:
    """`text` with half surrogate pairs, which no file or tokenizer takes, replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def worked_solution(value: object) -> str | None:
    """How a row reaches its answer, without the line behind `####` that states it."""
    solution = _text(value)
    return _text(NOT_WORKING.sub("", solution)) if solution else None


def true_answer(value: object) -> str | None:
    """The true answer of a row; what stands behind `####`, where a worked solution leads to it."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    return whole_text(str(value)).rpartition("####")[2].strip() or None
