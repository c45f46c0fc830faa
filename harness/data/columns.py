"""Which columns of a file hold what, and its rows as Problems."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.types import Problem

# verl's rows have the true answer in {"reward_model": {"style": "rule", "ground_truth": "72"}}.
QUESTION = ("question", "prompt", "problem", "instruction", "query", "input")
ANSWER = (
    "answer", "solution", "expected_answer", "final_answer", "ground_truth", "reward_model.ground_truth", "target",
)  # fmt: skip
SOLUTION = ("generated_solution", "solution", "reasoning")
# What GSM8K's solutions have and a reply should not: calculator marks, <<48/2=24>>, and the line with the answer.
NOT_WORKING = re.compile(r"<<[^<>\s]*=[^<>\s]*>>|\n####[^\n]*\Z")
MOST_SHOWN = 30
# From here on a float cannot tell whole numbers apart.
WHOLE = 2**53


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns; None if there is no such column, or if none was named."""

    question: str | None
    answer: str | None
    solution: str | None


@dataclass
class ReadRows:
    """Rows as problems, and how many rows were skipped by reason, or have a note, by note."""

    problems: list[Problem] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)
    notes: Counter = field(default_factory=Counter)


def find(rows: list[dict], named: Columns, has_solutions: bool, where: Path | str) -> Columns:
    """The columns of the rows: those that were named, else the usual ones. `a.b` is field b of the objects in column a.

    A column of worked solutions is optional; the usual ones are tried only if `has_solutions`. Raises UserError if a
    column is missing.
    """
    if not rows:
        raise UserError(f"{where}: no rows: give a file that is not empty")
    present = present_in(rows)

    def column(option: str, name: str | None, usual: tuple[str, ...]) -> str:
        match = next(filter(None, (matching_column(each, present) for each in ((name,) if name else usual))), None)
        if match is None:
            raise UserError(f"{where}: {no_column(option, (name,) if name else usual, present)}")
        return match

    question, answer = column("--question-column", named.question, QUESTION), None
    answer = column("--answer-column", named.answer, tuple(name for name in ANSWER if name != question))
    solutions = (named.solution,) if named.solution else SOLUTION if has_solutions else ()
    return Columns(question, answer, next((name for name in solutions if name in present), None))


def present_in(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of the rows, then the fields of the objects in them."""
    columns, inner = {}, {}
    for row in rows:
        columns |= dict.fromkeys(row)
        for name, value in row.items():
            if isinstance(value, dict):
                inner |= dict.fromkeys(f"{name}.{key}" for key in value)
    return [*columns, *inner]


def matching_column(name: str, present: list[str]) -> str | None:
    """The column of that name, or the only one that differs from it in case alone."""
    if name in present:
        return name
    alike = [each for each in present if isinstance(each, str) and each.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def no_column(option: str, names: tuple[str, ...], present: list[str], usual: tuple[str, ...] = ()) -> str:
    """The message for a missing column, with the option that names it and the column that is probably meant."""
    texts = [name for name in present if isinstance(name, str)]
    near = [match for name in names for match in difflib.get_close_matches(name, texts, n=1, cutoff=0.7)]
    likely = next((name for name in usual if name in texts), None) or (near[0] if near else None)
    quoted = " or ".join(f"'{name}'" for name in names)
    fix = f"did you mean {option} {likely}?" if likely else f"name it with {option}"
    shown = ", ".join(f"{each!s:.60}" for each in present[:MOST_SHOWN])
    more = f" and {len(present) - MOST_SHOWN} more" if len(present) > MOST_SHOWN else ""
    return f"no column {quoted} (columns: {shown}{more}): {fix}"


def cell(row: Mapping[str, Any], name: str | None) -> Any:
    """The value of a row in a column; of `a.b`, field b of the object in column a. None if there is none."""
    if name is None or name in row:
        return row.get(name)
    outer, _, inner = name.partition(".")
    value = row.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def problems(rows: list[dict], prefix: str, columns: Columns) -> ReadRows:
    """The rows that have a question as problems, numbered in their order."""
    read = ReadRows()
    for place, row in enumerate(rows):
        asked = cell(row, columns.question)
        question = _text(asked)
        if isinstance(asked, list | tuple):
            question, has_system = _asked(asked)
            if question is None:
                read.skipped[f"column '{columns.question}' has a conversation that is more than one question"] += 1
                continue
            if has_system:
                read.notes["have a system prompt of their own, which is not used: the format's is"] += 1
        if question is None:
            read.skipped[f"no text in column '{columns.question}'"] += 1
            continue
        given = cell(row, columns.answer)
        answer = true_answer(given)
        if answer is None and isinstance(given, bool | list | tuple | dict):
            read.notes[f"have no single true answer in column '{columns.answer}' ({_kind(given)})"] += 1
        solution = worked_solution(cell(row, columns.solution)) if columns.solution else None
        read.problems.append(Problem(f"{prefix}-{place:05d}", question, answer, solution=solution))
    return read


def _asked(messages: list | tuple) -> tuple[str | None, bool]:
    """The one question in TRL's and verl's messages, and whether a system prompt comes before it.

    None for a longer conversation, which is more than one question.
    """
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if roles not in (["user"], ["system", "user"]):
        return None, False
    return _text(content_of(messages[-1])), len(roles) == 2


def content_of(message: Any) -> str | None:
    """The text of a chat message, or the texts of its parts on lines of their own."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(text for text in texts if isinstance(text, str)) if all(texts) else None
    return content if isinstance(content, str) else None


def _text(value: object) -> str | None:
    return whole_text(value.strip()) if isinstance(value, str) and value.strip() else None


def whole_text(text: str) -> str:
    """`text` with half surrogate pairs, which no file or tokenizer takes, replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def worked_solution(value: object) -> str | None:
    """The worked solution of a row, without the line after `####` that states the answer."""
    solution = _text(value)
    return _text(NOT_WORKING.sub("", solution)) if solution else None


def true_answer(value: object) -> str | None:
    """The true answer of a row; of a worked solution, what comes after `####`; of a list of one, its element.

    None for what is no single answer: a longer list, an object, true or false, NaN or infinity.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        return true_answer(value[0])
    if value is None or isinstance(value, bool | list | tuple | dict):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() and abs(value) < WHOLE else value
    return whole_text(str(value)).rpartition("####")[2].strip() or None


def _kind(value: bool | list | tuple | dict) -> str:
    return "true or false" if isinstance(value, bool) else "an object" if isinstance(value, dict) else "a list"
