"""Replies made elsewhere: our own rows, lm-eval's samples, TRL's logged completions."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import tables
from harness.columns import true_answer
from harness.config import check
from harness.datasets import named_equality
from harness.errors import UserError
from harness.formats import FORMATS
from harness.tables import BrokenRow
from harness.types import Equality, Format


@dataclass(frozen=True)
class Layout:
    """Where a kind of file keeps things: it is known by `marks`, columns that it always has.

    `worked_answer`: a true answer may stand behind a worked solution and `####`.
    """

    marks: tuple[str, ...]
    completion: str
    answer: str
    answer_may_lack: bool = False
    worked_answer: bool = False


# {"id": "1", "question": "…", "completion": "…", "answer": "72"}
OURS = Layout(("completion", "answer"), "completion", "answer")
# {"doc_id": 3, "doc": {…}, "target": "… #### 72", "resps": [["…"]], "filtered_resps": ["72"], "filter": "…"}
LM_EVAL = Layout(("doc_id", "resps", "target"), "resps", "target", worked_answer=True)
# {"step": 5, "prompt": "…", "completion": "…", <reward function>: 3.0, …, "advantage": 0.7}
TRL = Layout(("step", "completion", "advantage"), "completion", "answer", answer_may_lack=True)
LAYOUTS = (LM_EVAL, TRL, OURS)


@dataclass(frozen=True)
class Reading:
    """How replies that come without settings are graded."""

    dataset: str
    format: Format
    equality: Equality
    language: str | None
    question_column: str | None

    @classmethod
    def of(cls, dataset: str, format: str, language: str | None, question_column: str | None = None) -> "Reading":
        """The reading that options name; a UserError where there is no such dataset or format."""
        equality = named_equality(dataset)
        chosen = check({"name": "grade", "checkpoint": "", "format": format, "language": language or ""})
        return cls(dataset, FORMATS[chosen.format], equality, chosen.target_language, question_column)


@dataclass(frozen=True)
class Sample:
    """One row of a file. `fault` says what keeps it from being judged whole, where something does."""

    name: str
    row: dict[str, Any]
    completion: str | None
    answer: str | int | float | None
    fault: str | None


def read_samples(path: Path, completion_column: str | None = None, answer_column: str | None = None) -> list[Sample]:
    """The rows of a file in one of LAYOUTS, or with its columns named; a broken line becomes a faulty row.

    lm-eval writes a row once for each of its filters: the first is taken. UserError: the file cannot be read, has no
    rows, or its columns are neither known nor named.
    """
    found: list[tuple[str, dict] | BrokenRow] = []
    for named in tables.named_rows(path, lambda error: found.append(error)):
        found.append(named)
    rows = [each for each in found if not isinstance(each, BrokenRow)]
    columns = list(dict.fromkeys(key for _, row in rows for key in row))
    if not columns:
        broken = (each for each in found if isinstance(each, BrokenRow))
        raise next(broken, UserError(f"{path}: no rows with anything in them: give a file that has some"))
    layout = _layout(path, columns, completion_column, answer_column)
    first_filter = rows[0][1].get("filter")
    samples = []
    for each in found:
        if isinstance(each, BrokenRow):
            samples.append(Sample(each.where, {}, None, None, each.cause))
        elif not layout.worked_answer or each[1].get("filter") == first_filter:
            samples.append(_sample(*each, layout))
    return samples


def _layout(path: Path, columns: list[str], completion: str | None, answer: str | None) -> Layout:
    known = next((layout for layout in LAYOUTS if set(layout.marks) <= set(columns)), OURS)
    layout = replace(known, completion=completion or known.completion, answer=answer or known.answer)
    needed = [("completion", layout.completion)]
    if answer or not layout.answer_may_lack:
        needed.append(("answer", layout.answer))
    for what, column in needed:
        if column not in columns:
            names = ", ".join(map(str, columns))
            raise UserError(f"{path}: no column '{column}' (columns: {names}): name it with --{what}-column")
    return layout


def _sample(name: str, row: dict[str, Any], layout: Layout) -> Sample:
    completion, answer = _first_text(row.get(layout.completion)), row.get(layout.answer)
    if layout.worked_answer:
        answer = true_answer(answer)
    fault = None
    if layout.completion not in row:
        fault = f"the row has no field '{layout.completion}'"
    elif completion is None:
        fault = f"'{layout.completion}' is no text"
    elif layout.answer not in row:
        fault = f"the row has no field '{layout.answer}'"
    elif not _is_answer(answer):
        fault = f"'{layout.answer}' is {'null' if answer is None else 'no text or number'}"
    return Sample(name, row, completion, answer if _is_answer(answer) else None, fault)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value == value


def _first_text(value: Any) -> str | None:
    """The text itself; of lm-eval's nested replies the first; of TRL's messages the last one's content."""
    while isinstance(value, list) and value:
        value = value[-1] if isinstance(value[0], dict) else value[0]
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
