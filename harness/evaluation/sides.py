"""One scored side out of anything stored: a run, a side of one, a baseline file, samples of lm-eval or inspect_ai.

Problems of different runs are the same if their question and true answer are, whatever their ids.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.console import progress
from harness.data import columns, inspect_logs
from harness.data.samples import NoReplies, Reading, Sample, read_samples, rendered_prompt
from harness.errors import UserError
from harness.evaluation.scoring import score_text, unscored_text
from harness.parsing import answers
from harness.parsing.formats import prompt_sha
from harness.stages import title_of
from harness.statistics.compare import metrics_of
from harness.statistics.pairs import of_several_adapters
from harness.storage import validation
from harness.storage.files import read_json, write_text
from harness.storage.links import real_path
from harness.storage.run_folder import Run, run_and_side
from harness.storage.schema import Provenance
from harness.types import ACCURACY_STRICT, CUT_OFF, Completion, Evaluation, Score

BASELINE_PROVENANCE = ("engine", "device", "dtype", "weights", "checkpoint", "adapter", "versions", "stopped_early")
LM_EVAL, INSPECT = "lm-eval", "inspect_ai"
KEY_LENGTH = 12


@dataclass(frozen=True)
class Baseline:
    """A baseline file; each of its `replies` is [problem, index, prompt_sha, the metrics' values]."""

    name: str
    settings: dict
    provenance: Provenance
    metrics: tuple[str, ...]
    replies: tuple[list, ...]


def load(place: str, reading: Reading | None = None) -> list[Evaluation]:
    """The sides at a place: all finished ones of a run folder, else one.

    `reading` is needed for samples of lm-eval and inspect_ai alone. Raises UserError if nothing can be read there.
    """
    path = Path(place)
    folder, side = run_and_side(path)
    if (folder / "run.json").is_file():
        run = Run.open(folder)
        if side is None and (stage := run.record.unfinished()):
            raise UserError(
                f"{place}: its stage '{title_of(stage)}' is not finished: finish the run, or name a side of it"
            )
        return [_named(each, f"{real_path(folder).name}/{each.name}") for each in run.chosen_evaluations(side)]
    if path.is_file() and (path.suffix == ".jsonl" or inspect_logs.is_log(path)):
        if reading is None:
            raise UserError(f"{place}: samples do not say how to score them: add --dataset and --format")
        return [_scored_samples(path, reading)]
    if path.suffix == ".json" and path.is_file():
        return [read_baseline(path)]
    raise UserError(
        f"{place}: no run folder, side of one, baseline .json, samples .jsonl or .eval log: give one that exists"
    )


def last_of(place: str, reading: Reading | None = None) -> Evaluation:
    """What a place ends with: a trained run's last side."""
    return load(place, reading)[-1]


def save_baseline(side: Evaluation, path: Path) -> None:
    """Write a file that later runs are compared with: the scores of each completion, without its text, on a line."""
    names = list(dict.fromkeys(name for score in side.scores for name in score.scores))
    head = {
        "name": side.name,
        "settings": side.settings,
        "provenance": {key: side.provenance.get(key) for key in BASELINE_PROVENANCE},
        "metrics": names,
    }
    rows = [
        json.dumps([each.problem_id, each.index, each.prompt_sha, [score.scores.get(name) for name in names]])
        for each, score in zip(side.completions, side.scores, strict=True)
    ]
    opening = json.dumps(head, indent=2).removesuffix("\n}")
    write_text(path, opening + ',\n  "replies": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n")


def read_baseline(path: Path) -> Evaluation:
    """A side as `save_baseline` wrote it; its completions have no text. Raises UserError if the file is damaged."""
    fix = "write one with `harness gate RUN --write-baseline FILE`"
    stored = read_json(path, fix)
    try:
        validation.check(Baseline, stored)
    except ValueError as error:
        raise UserError(f"{path}: not a baseline file ({error}): {fix}") from error
    try:
        rows = [
            (key, index, sha, dict(zip(stored["metrics"], v, strict=True))) for key, index, sha, v in stored["replies"]
        ]
        completions = tuple(Completion(key, index, "", None, "", 0, "stop", sha, 0) for key, index, sha, _ in rows)
        scores = tuple(Score(key, index, None, "", values, {}) for key, index, _, values in rows)
        for each in (*completions, *scores):
            validation.check(type(each), vars(each))
        if len({each.place for each in completions}) < len(rows):
            raise ValueError("a reply is in it twice")
        if not {values.get(ACCURACY_STRICT, "missing") for *_, values in rows} <= {0, 1, None}:
            raise ValueError(f"a reply without {ACCURACY_STRICT} of 0, 1 or null")
        metrics = metrics_of(scores, not of_several_adapters(stored["settings"], stored["provenance"]))
        return Evaluation(stored["name"], completions, scores, metrics, stored["provenance"], stored["settings"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a whole baseline file ({error}): write it again") from error


def _named(side: Evaluation, name: str) -> Evaluation:
    """A side whose problems are named by their questions, so that those of other runs can be recognised."""
    first = {each.problem_id: each for each in reversed(side.completions)}
    ordered = dict.fromkeys(each.problem_id for each in side.completions)
    keys = _keys((first[problem].question, first[problem].answer) for problem in ordered)
    key_of = dict(zip(ordered, keys, strict=True))
    return replace(
        side,
        name=name,
        completions=tuple(replace(each, problem_id=key_of[each.problem_id]) for each in side.completions),
        scores=tuple(replace(each, problem_id=key_of[each.problem_id]) for each in side.scores),
    )


def _keys(problems: Iterable[tuple[str, str | None]]) -> list[str]:
    """A key for each question with its true answer; repeated ones are numbered."""
    seen, keys = Counter(), []
    for question, answer in problems:
        number = None if answer is None else answers.number(answer)
        asked = f"{' '.join(question.split())}\n{answer if number is None else number}"
        key = hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()[:KEY_LENGTH]
        seen[key] += 1
        keys.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return keys


def _keys_of_rows(samples: Sequence[Sample], questions: Sequence[str], truths: Sequence[str | None]) -> list[str]:
    """A key for each sample, the same for all completions of one row."""
    rows = {sample.name: (question, truth) for sample, question, truth in zip(samples, questions, truths, strict=True)}
    keys = dict(zip(rows, _keys(rows.values()), strict=True))
    return [keys[sample.name] for sample in samples]


def _scored_samples(path: Path, reading: Reading) -> Evaluation:
    is_log = inspect_logs.is_log(path)
    samples = read_samples(path) if is_log else _lm_eval_samples(path)
    questions = [_question(sample.row if is_log else sample.row["doc"], reading, path) for sample in samples]
    truths = [columns.true_answer(sample.answer) for sample in samples]
    keys = _keys_of_rows(samples, questions, truths)
    completions, scores = [], []
    with progress.bar(path.name, len(samples)) as bar:
        for key, question, truth, sample in zip(keys, questions, truths, samples, strict=True):
            prompt, text, index = rendered_prompt(sample.row), sample.completion, sample.index or 0
            prefix, sha = sample.opening(reading.format) or "", prompt_sha(prompt) if prompt else ""
            result, end = unscored_text("no reply", reading.language), sample.finish_reason
            if text is not None:
                finished = end != CUT_OFF
                result = score_text(
                    prefix + text, truth, reading.format, reading.equality, reading.language, finished=finished
                )
            completions.append(Completion(key, index, question, truth, text or "", 0, end, sha, 0, prefix=prefix))
            scores.append(Score(key, index, result.extracted, result.language, result.scores, result.reasons))
            bar.advance()
    settings = {
        "dataset": reading.dataset, "format": reading.format.name, "language": reading.language,
        "engine": INSPECT if is_log else LM_EVAL,
    }  # fmt: skip
    return Evaluation(path.stem, tuple(completions), tuple(scores), metrics_of(scores), {}, settings)


def _lm_eval_samples(path: Path) -> list[Sample]:
    """The completions of lm-eval's samples, each once. Raises UserError if the file is something else."""
    other_file = f"{path}: not lm-eval's samples: make them with `lm_eval --log_samples`, or give a run folder"
    try:
        samples = read_samples(path)
    except NoReplies:
        raise
    except UserError as error:
        raise UserError(other_file) from error
    for sample in samples:
        if not sample.row:
            raise UserError(f"{sample.name}: {sample.fault}: fix or delete the line")
        if "doc" not in sample.row or "resps" not in sample.row:
            raise UserError(other_file)
    return samples


def _question(doc: dict[str, Any], reading: Reading, path: Path) -> str:
    names = (reading.question_column,) if reading.question_column else columns.QUESTION
    for column in names:
        if isinstance(doc, dict) and isinstance(doc.get(column), str):
            return doc[column]
    raise UserError(f"{path}: its rows have no text '{names[0]}': name the question with --question-column")
