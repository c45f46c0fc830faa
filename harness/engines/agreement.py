"""Comparison of engines that run one adapter: each scores the same fixed texts with base and adapter.

The trainer writes its scores beside the adapter that it trained; the engine that evaluates this adapter is compared
with them before anything is generated.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import UserError
from harness.findings import Agreement
from harness.storage import validation
from harness.storage.files import read_json

FILE = "probe.json"
# Nats a token by which two engines may differ in a type's rounding alone, though their bases agree to the last bit:
# a merged adapter is rounded with the weights, one beside them is not (0.04 in bfloat16 with the embedded model).
ROUNDING = {"float32": 1e-4, "float16": 0.01, "bfloat16": 0.05}


@dataclass(frozen=True)
class Text:
    """Tokens that are scored from `start` on; those before are the prompt."""

    tokens: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Scores:
    """An engine's natural log-probabilities of the texts' scored tokens, text after text."""

    engine: str
    dtype: str
    base: tuple[float, ...]
    adapter: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """probe.json: the texts, the scores of each engine of a training, and why others were not compared."""

    texts: tuple[Text, ...]
    scores: tuple[Scores, ...]
    not_compared: dict[str, str]


def compare(one: Scores, other: Scores) -> Agreement:
    """Compare two engines' scores of the same texts. Raises ValueError if they are not of as many tokens."""
    effects = [[a - b for a, b in zip(each.adapter, each.base, strict=True)] for each in (one, other)]
    length = sum(value * value for value in effects[0])
    along = sum(a * b for a, b in zip(*effects, strict=True))
    return Agreement(
        engines=(one.engine, other.engine),
        base=_distance(one.base, other.base),
        adapter=_distance(one.adapter, other.adapter),
        effect=max(sum(map(abs, effect)) / len(effect) for effect in effects),
        ratio=along / length if length else 0.0,
        tokens=len(one.base),
        rounding=max(ROUNDING.get(each.dtype, ROUNDING["bfloat16"]) for each in (one, other)),
    )


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def refuse_disagreement(agreement: Agreement, adapter: str, fix: str) -> None:
    """Raises UserError if the adapter is another one in the second engine than in the first."""
    if agreement.fails:
        first, second = agreement.engines
        raise UserError(
            f"--adapter {adapter}: {first} and {second} do not run the same adapter: their log-probabilities of fixed "
            f"texts are {agreement.adapter:.2g} nats per token apart, the base's only {agreement.base:.2g}; {second} "
            f"shows {agreement.ratio:.2f} times the effect: {fix}"
        )


def write(folder: Path, record: Record) -> None:
    """Write the record beside an adapter."""
    validation.write(Record, folder / FILE, asdict(record))


def read(folder: Path) -> Record | None:
    """The record beside an adapter, None if there is none. Raises UserError if it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    fix = "copy the adapter's folder again, or delete this file: then nothing is compared"
    try:
        stored = validation.make(Record, read_json(path, fix))
        texts = tuple(validation.make(Text, each) for each in stored.texts)
        scores = tuple(validation.make(Scores, each) for each in stored.scores)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged or edited ({error}): {fix}") from error
    scored = sum(len(each.tokens) - each.start for each in texts)
    if not scored or any(not 0 < each.start < len(each.tokens) for each in texts):
        raise UserError(f"{path}: damaged or edited (a text without a scored token): {fix}")
    if any({len(each.base), len(each.adapter)} != {scored} for each in scores):
        raise UserError(f"{path}: damaged or edited (scores of other texts): {fix}")
    return Record(texts, scores, stored.not_compared)


def compare_with_training(adapter: str, score: Callable[[Sequence[Text]], Scores | None]) -> dict:
    """Compare a run's engine with those of the training; what run.json keeps: `compared`, and `not_compared` with why.

    Raises UserError if the adapter is another one here than it was there.
    """
    record = read(Path(adapter)) if Path(adapter).is_dir() else None
    if record is None:
        return {"compared": [], "not_compared": {"trainer": f"no {FILE} beside the adapter"}}
    try:
        evaluation = score(record.texts)
    except UserError as error:
        return {"compared": [], "not_compared": record.not_compared | {"evaluation": str(error)}}
    if evaluation is None:
        missing = {"evaluation": "this engine scores no given tokens"}
        return {"compared": [], "not_compared": record.not_compared | missing}
    compared = [compare(training, evaluation) for training in record.scores]
    for each in compared:
        refuse_disagreement(
            each,
            adapter,
            f"evaluate with another --engine or version, bring the adapter's files back, or, where they were changed "
            f"on purpose, delete {FILE} beside them",
        )
    return {"compared": [asdict(each) for each in compared], "not_compared": record.not_compared}
