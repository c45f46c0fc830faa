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
# What GSM8K's solutions have and a reply should not: the calculator's marks, <<48/2=24>>, and the answer's own line.
NOT_WORKING = re.compile(r"<<[^<>\s]*=[^<>\s]*>>|\n####[^\n]*\Z")
# Beyond these a float does not tell whole numbers apart.
WHOLE = 2**53


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns; None is one that the file, or whoever asks, does not name."""

    question: str | None
    answer: str | None
    solution: str | None


@dataclass
class Read:
    """Rows as problems; how many make none, by reason; and what else is to be said of how many, by what."""

    problems: list[Problem] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)
    noted: Counter = field(default_factory=Counter)


def find(rows: list[dict], named: Columns, has_solutions: bool, where: Path | str) -> Columns:
    """The columns that the rows have, of those named, else of the usual ones; a UserError where one is not there.

    A column of worked solutions need not be; only `has_solutions` looks for the usual ones. `a.b` is field b of the
    objects in column a.
    """
    if not rows:
        raise UserError(f"{where}: no rows: give a file that is not empty")
    present = present_in(rows)

    def column(option: str, name: str | None, usual: tuple[str, ...]) -> str:
        found = next(filter(None, (known_as(each, present) for each in ((name,) if name else usual))), None)
        if found is None:
            raise UserError(f"{where}: {no_column(option, (name,) if name else usual, present)}")
        return found

    question, answer = column("--question-column", named.question, QUESTION), None
    answer = column("--answer-column", named.answer, tuple(name for name in ANSWER if name != question))
    solutions = (named.solution,) if named.solution else SOLUTION if has_solutions else ()
    return Columns(question, answer, next((name for name in solutions if name in present), None))


def present_in(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of the rows, and behind them the fields of the objects in them."""
    columns, inner = {}, {}
    for row in rows:
        columns |= dict.fromkeys(row)
        for name, value in row.items():
            if isinstance(value, dict):
                inner |= dict.fromkeys(f"{name}.{key}" for key in value)
    return [*columns, *inner]


def known_as(name: str, present: list[str]) -> str | None:
    """The column of that name, or the only one that differs in case alone."""
    if name in present:
        return name
    alike = [each for each in present if isinstance(each, str) and each.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def no_column(option: str, wanted: tuple[str, ...], present: list[str], usual: tuple[str, ...] = ()) -> str:
    """What to say where a column is missing: the option that names it, and the column that is likely meant."""
    texts = [name for name in present if isinstance(name, str)]
    near = [match for name in wanted for match in difflib.get_close_matches(name, texts, n=1, cutoff=0.7)]
    likely = next((name for name in usual if name in texts), None) or (near[0] if near else None)
    said = " or ".join(f"'{each}'" for each in wanted)
    fix = f"did you mean {option} {likely}?" if likely else f"name it with {option}"
    return f"no column {said} (columns: {', '.join(map(str, present))}): {fix}"


def cell(row: Mapping[str, Any], name: str | None) -> Any:
    """What a row has in a column; of `a.b` field b of the object in column a. None where it has nothing."""
    if name is None or name in row:
        return row.get(name)
    outer, _, inner = name.partition(".")
    value = row.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def problems(rows: list[dict], prefix: str, columns: Columns) -> Read:
    """The rows that have a question, numbered in their order."""
    read = Read()
    for place, row in enumerate(rows):
        asked = cell(row, columns.question)
        question = _text(asked)
        if isinstance(asked, list | tuple):
            question, has_system = _asked(asked)
            if question is None:
                read.skipped[f"column '{columns.question}' has a conversation that is more than one question"] += 1
                continue
            if has_system:
                read.noted["have a system prompt of their own, which is not used: the format's is"] += 1
        if question is None:
            read.skipped[f"no text in column '{columns.question}'"] += 1
            continue
        given = cell(row, columns.answer)
        answer = true_answer(given)
        if answer is None and isinstance(given, bool | list | tuple | dict):
            read.noted[f"have no single true answer in column '{columns.answer}' ({_kind(given)})"] += 1
        solution = worked_solution(cell(row, columns.solution)) if columns.solution else None
        read.problems.append(Problem(f"{prefix}-{place:05d}", question, answer, solution=solution))
    return read


def _asked(messages: list | tuple) -> tuple[str | None, bool]:
    """The one question of TRL's and verl's messages, and whether a system prompt stands before it.

    None where they are a longer conversation, which a single question cannot stand for.
    """
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if roles not in (["user"], ["system", "user"]):
        return None, False
    return _text(content_of(messages[-1])), len(roles) == 2


def content_of(message: Any) -> str | None:
    """What a chat message says: its text, or the texts of its parts."""
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
    """How a row reaches its answer, without the line behind `####` that states it."""
    solution = _text(value)
    return _text(NOT_WORKING.sub("", solution)) if solution else None


def true_answer(value: object) -> str | None:
    """The true answer of a row; what stands behind `####`, where a worked solution leads to it.

    A list of one is what it holds. None for what is no single answer: several, an object, true or false, not a number.
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
