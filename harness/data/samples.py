"""Replies made elsewhere: our rows and journals, lm-eval's samples, inspect_ai's logs, TRL's logged completions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import Configuration, check
from harness.data import columns, inspect_logs, tables
from harness.data.columns import true_answer
from harness.data.datasets import DATASETS, named_equality
from harness.data.tables import BrokenRow
from harness.errors import UserError
from harness.parsing.formats import prompt_prefix
from harness.parsing.named_formats import FORMATS
from harness.stages import SIDES
from harness.storage.links import real_path
from harness.storage.run_folder import Run
from harness.types import CUT_OFF, Equality, FinishReason, Format

# Usual columns of a reply and of a true answer, the likeliest first.
COMPLETION = (
    "completion", "response", "output", "reply", "generation", "generated_text", "prediction", "model_output", "text",
)  # fmt: skip
ANSWER = (*columns.ANSWER, "gold", "label", "truth", "reference")


class NoReplies(UserError):
    """A file of lm-eval without replies, as the model only gave log-likelihoods."""


@dataclass(frozen=True)
class Layout:
    """Which columns a kind of file has. It is recognised by `marks`, columns that it always has.

    `worked_answer`: the true answer may follow a worked solution and `####`. `epoch`: each reply to a problem has a row
    of its own, numbered from 1 in that column.
    """

    marks: tuple[str, ...]
    completion: str
    answer: str
    answer_may_lack: bool = False
    worked_answer: bool = False
    epoch: str | None = None


# {"id": "1", "question": "…", "completion": "…", "answer": "72"}
OURS = Layout(("completion", "answer"), "completion", "answer")
# {"problem_id": "gsm8k-test-00000", "index": 0, "answer": "18", "text": "…", "prompt_sha": "…", "prefix": "", …}
JOURNAL = Layout(("problem_id", "index", "text", "prompt_sha"), "text", "answer")
# {"doc_id": 3, "doc": {…}, "target": "… #### 72", "resps": [["…"]], "filtered_resps": ["72"], "filter": "…"}
LM_EVAL_LAYOUT = Layout(("doc_id", "resps", "target"), "resps", "target", worked_answer=True)
# {"step": 5, "prompt": "…", "completion": "…", <reward function>: 3.0, …, "advantage": 0.7}
TRL = Layout(("step", "completion", "advantage"), "completion", "answer", answer_may_lack=True)
# {"id": 3, "epoch": 1, "input": "…", "target": "72", "completion": "…", "finish_reason": "stop", "metadata": {…}}
INSPECT = Layout(("id", "epoch", "input", "target"), "completion", "target", epoch="epoch")
LAYOUTS = (LM_EVAL_LAYOUT, TRL, JOURNAL, OURS, INSPECT)


@dataclass(frozen=True)
class Reading:
    """How replies without settings are scored."""

    dataset: str
    format: Format
    equality: Equality
    language: str | None
    question_column: str | None

    @classmethod
    def of(
        cls,
        dataset: str | None,
        format: str | None,
        language: str | None,
        question_column: str | None = None,
        journal: Path | None = None,
    ) -> "Reading":
        """The reading that options give; what they leave out comes from the run of a `journal`.

        Raises UserError if there is no such dataset or format, or if none is given.
        """
        config, equality = settings_beside(journal) if journal else (None, None)
        if dataset:
            equality = named_equality(dataset)
        missing = [name for name, given in (("--dataset", equality), ("--format", format or config)) if not given]
        if missing:
            raise UserError(f"{journal}: does not say how to score its replies: add {' and '.join(missing)}")
        named = {"format": format or config.format, "language": language or (config.language if config else "")}
        chosen = check({"name": "grade", "checkpoint": ""} | named)
        return cls(dataset or config.dataset, FORMATS[chosen.format], equality, chosen.target_language, question_column)


def settings_beside(path: Path) -> tuple[Configuration | None, Equality | None]:
    """The configuration of the run of a completions.jsonl, and how its answers compare; None for any other file."""
    place = real_path(path).parent
    folder, side = place.parent, place.name
    if path.name != "completions.jsonl" or side not in SIDES or not (folder / "run.json").is_file():
        return None, None
    run = Run.open(folder)
    equality = run.record.provenance.get(side, {}).get("equality")
    return run.config, equality or (named_equality(run.config.dataset) if run.config.dataset in DATASETS else None)


@dataclass(frozen=True)
class Sample:
    """One reply in a row of a file. `fault` says why it cannot be scored completely, if it cannot.

    `index` is its place if the row has several; `prompt` is the end of its prompt, which may open the reply, or with
    `rendered` the whole prompt; `prefix` is that opening, if the row has it.
    """

    name: str
    row: dict[str, Any]
    completion: str | None
    answer: str | int | float | None
    fault: str | None
    index: int | None = None
    prompt: str | None = None
    rendered: bool = False
    prefix: str | None = None

    def opening(self, format: Format) -> str | None:
        """The opening of the reply with which the prompt ended: a tag, or nothing; None if that is not known."""
        if self.prefix is not None:
            return self.prefix
        tag = prompt_prefix(self.prompt, format) if self.prompt else ""
        return tag if tag or self.rendered else None

    @property
    def finish_reason(self) -> FinishReason:
        return CUT_OFF if self.row.get("finish_reason") == CUT_OFF else "stop"

    def with_scores(self, scored: dict[str, Any]) -> dict[str, Any]:
        """The row of an output file."""
        place = {} if self.index is None else {"index": self.index}
        return (self.row or {"line": self.name}) | place | scored


def read_samples(path: Path, completion_column: str | None = None, answer_column: str | None = None) -> list[Sample]:
    """Every reply of a file in one of LAYOUTS, or with its columns given; a broken line becomes a sample with a fault.

    A problem may have several replies; `index` tells them apart. lm-eval writes a row once for each of its filters; its
    replies are read once. Raises UserError if the file cannot be read, has no rows, has unknown columns, or has
    log-likelihoods instead of replies.
    """
    named_rows: list[tuple[str, dict] | BrokenRow] = []
    read = inspect_logs.named_rows(path) if inspect_logs.is_log(path) else tables.named_rows(path, named_rows.append)
    for named_row in read:
        named_rows.append(named_row)
    rows = [each for each in named_rows if not isinstance(each, BrokenRow)]
    present = columns.present_in(row for _, row in rows)
    if not present:
        broken = (each for each in named_rows if isinstance(each, BrokenRow))
        raise next(broken, UserError(f"{path}: no rows with anything in them: give a file that has some"))
    layout = _layout(path, present, completion_column, answer_column)
    seen: dict[str, Any] = {}
    samples = []
    for each in named_rows:
        if isinstance(each, BrokenRow):
            samples.append(Sample(each.where, {}, None, None, each.cause))
        elif layout.marks != LM_EVAL_LAYOUT.marks:
            samples += _samples(*each, layout)
        elif not _is_repeated(each[1], seen):
            _refuse_log_likelihoods(*each)
            samples += _samples(*each, layout)
    return samples


def _layout(path: Path, present: list[str], completion: str | None, answer: str | None) -> Layout:
    default = next((layout for layout in LAYOUTS if set(layout.marks) <= set(present)), OURS)
    layout = replace(default, completion=completion or default.completion, answer=answer or default.answer)
    needed = [("completion", completion, layout.completion, COMPLETION)]
    if answer or not layout.answer_may_lack:
        needed.append(("answer", answer, layout.answer, ANSWER))
    for what, named, column, usual in needed:
        if column not in present:
            message = columns.no_column(f"--{what}-column", (column,), present, () if named else usual)
            raise UserError(f"{path}: {message}")
    return layout


def _is_repeated(row: dict[str, Any], seen: dict[str, Any]) -> bool:
    """Whether lm-eval already wrote these replies of this document, for another filter or for none."""
    replies = [row.get(key) for key in ("doc_id", "doc_hash", "doc", "resps", "index")]
    key, filter_name = json.dumps(replies, sort_keys=True, default=str), row.get("filter")
    if key not in seen:
        seen[key] = filter_name
        return False
    return filter_name is None or filter_name != seen[key]


def _refuse_log_likelihoods(name: str, row: dict[str, Any]) -> None:
    """Raise NoReplies if a row of lm-eval has log-likelihoods, as its tasks of choices and of perplexity have."""
    arguments = _arguments(row)
    # A request to generate has settings after its prompt; one for a log-likelihood has a continuation, or nothing.
    is_scored = arguments and not any(isinstance(each, dict) for each in arguments[1:])
    if is_scored or _is_log_likelihood(row.get("resps")):
        raise NoReplies(
            f"{name}: has log-likelihoods, not replies: give samples of a task that generates (generate_until)"
        )


def _is_log_likelihood(replies: Any) -> bool:
    """Whether replies are pairs (log-likelihood, whether it is the greatest), as numbers or as lm-eval's texts."""
    while isinstance(replies, list) and len(replies) > 0 and isinstance(replies[0], list):
        replies = replies[0]
    is_pair = isinstance(replies, list) and len(replies) == 2 and str(replies[1]) in ("True", "False")
    try:
        return is_pair and float(replies[0]) <= 0
    except (TypeError, ValueError):
        return False


def _samples(name: str, row: dict[str, Any], layout: Layout) -> Iterator[Sample]:
    answer = columns.cell(row, layout.answer)
    if layout.worked_answer:
        answer = true_answer(answer)
    texts = _texts(columns.cell(row, layout.completion))
    first = texts[0] if texts else None
    replies: dict[int | None, str | None] = dict(enumerate(texts)) if len(texts) > 1 else {None: first}
    if layout.epoch and type(row.get(layout.epoch)) is int:
        replies = {row[layout.epoch] - 1: first}
    elif type(row.get("index")) is int and row["index"] in replies:
        replies = {row["index"]: replies[row["index"]]}
    prompt, rendered = _prompt(row)
    prefix = row.get("prefix") if isinstance(row.get("prefix"), str) else None
    for index, completion in replies.items():
        fault = None
        if layout.completion.partition(".")[0] not in row:
            fault = f"the row has no field '{layout.completion}'"
        elif completion is None:
            fault = f"'{layout.completion}' is no text"
        elif layout.answer.partition(".")[0] not in row:
            fault = f"the row has no field '{layout.answer}'"
        elif not _is_answer(answer):
            fault = f"'{layout.answer}' is {'null' if answer is None else 'no text or number'}"
        usable = answer if _is_answer(answer) else None
        yield Sample(name, row, completion, usable, fault, index, prompt, rendered, prefix)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value == value


def _texts(value: Any) -> list[str | None]:
    """Every reply: the text itself; all in lm-eval's nested lists; of TRL's messages the last one's content."""
    if isinstance(value, dict):
        value = columns.content_of(value)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _texts(value[-1])
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _arguments(row: dict[str, Any]) -> list[Any]:
    """The arguments of lm-eval's first request: in a file {"gen_args_0": {"arg_0": …}}, in Python [(…, settings)]."""
    arguments = row.get("arguments")
    if isinstance(arguments, dict):
        arguments = [list(each.values()) for each in arguments.values() if isinstance(each, dict)]
    first = next(iter(arguments), None) if isinstance(arguments, list) else None
    return list(first) if isinstance(first, list | tuple) else []


def rendered_prompt(row: dict[str, Any]) -> str | None:
    """The prompt of a row of lm-eval as the model got it; None if the row has none."""
    prompt = next(iter(_arguments(row)), None)
    return prompt if isinstance(prompt, str) else None


def _prompt(row: dict[str, Any]) -> tuple[str | None, bool]:
    """The text that may end with the start of the reply, and whether it is the whole prompt."""
    if rendered := rendered_prompt(row):
        return rendered, True
    prompt = row.get("prompt")
    if isinstance(prompt, list) and prompt:
        last = prompt[-1]
        prompt = columns.content_of(last) if isinstance(last, dict) and last.get("role") == "assistant" else None
    return prompt if isinstance(prompt, str) else None, False
