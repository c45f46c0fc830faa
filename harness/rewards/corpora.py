"""Regression checks: rewards compared with rows whose scores are stored."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from harness import registry
from harness.data.samples import Sample, read_samples
from harness.errors import UserError
from harness.parsing.language import LANGUAGE_CODES, LANGUAGES
from harness.parsing.named_formats import FORMATS
from harness.rewards import PRESETS, load_rewards
from harness.rewards.own import load_own
from harness.rewards.reward_scores import RewardScores
from harness.storage.files import write_lines
from harness.types import Equality, Format

TOLERANCE = 1e-9
MISSING = "missing"
# The columns of a corpus that are no columns of the dataset: they are not handed to a user's functions.
OUR_COLUMNS = {"completion", "answer", "scores", "reasons", "extracted", "preset", "variant", "eos", "prefix"}
# The variant where neither a command nor a row names one.
ROBUST = "robust"


class Scorer(Protocol):
    """The rewards of a preset, or a user's own."""

    @property
    def names(self) -> list[str]: ...

    @property
    def format(self) -> Format | None: ...

    def score(self, completion: object, answer: object, columns: Mapping[str, object] = ...) -> RewardScores: ...


@dataclass(frozen=True)
class Drift:
    """A function that no longer scores a row as stored: None is unscored, MISSING not there at all."""

    sample: Sample
    function: str
    expected: float | str | None
    got: float | str | None
    why: str
    format: Format | None

    @property
    def row(self) -> str:
        return str(self.sample.row.get("id", self.sample.name))


@dataclass
class Check:
    """One corpus compared with its rewards; `faults` are rows that could not be checked, with the reason."""

    path: Path
    rows: list[tuple[Sample, RewardScores]] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left_out: int = 0


def stored_corpora() -> list[Path]:
    """The corpora that come with the program."""
    return sorted(Path(str(resources.files("baselines") / "rewards")).glob("*/*.jsonl"))


@cache
def open_rewards(
    preset: str,
    variant: str,
    eos: str | None = None,
    prefix: str | None = None,
    language: str | None = None,
    plain: bool = False,
    format: Format | None = None,
    equality: Equality = "number",
) -> Scorer:
    """Load the rewards of a preset, or of a user's .py file, which is run; `language`: a code or an English name.

    `format` and `equality` are for the robust variant, where they are not the preset's own.
    """
    if preset.endswith(".py"):
        if eos or prefix or language:
            raise UserError(f"--preset {preset}: --eos, --prefix and --language are for our presets: leave them out")
        return load_own(Path(preset), plain)
    if plain:
        raise UserError("--plain is for reward functions of your own: leave it out")
    if variant == "tutorial" and (prefix or language):
        raise UserError("--prefix and --language are for the robust variant: add --variant robust, or leave them out")
    if language:
        language = registry.choose("language", LANGUAGE_CODES.get(language.casefold(), language), LANGUAGES)
    return load_rewards(preset, variant, eos=eos, prefix=prefix, language=language, format=format, equality=equality)


def open_rewards_for(sample: Sample, preset: str, variant: str, eos: str | None = None, **options: Any) -> Scorer:
    """Load the rewards as one row needs them: the robust ones read a reply from where its prompt ends."""
    if variant == ROBUST and preset in PRESETS and options.get("prefix") is None:
        format = options.get("format") or FORMATS[PRESETS[preset].format]
        options |= {"prefix": sample.opening(format)}
    return open_rewards(preset, variant, eos, **options)


def rewards_of_rows(
    preset: str | None, variant: str | None, eos: str | None = None, **options: str | bool | None
) -> Callable[[Sample], Scorer | None]:
    """A function from a row to its rewards: its own `preset`, `variant`, `eos` and `prefix` win over those given.

    It returns None for a row that names another preset or variant than was asked for.
    """

    def rewards_of(sample: Sample) -> Scorer | None:
        named = {key: sample.row[key] for key in ("preset", "variant", "eos", "prefix") if key in sample.row}
        wrong = [key for key, value in named.items() if not isinstance(value, str)]
        if wrong or named.get("preset", "xml") not in PRESETS:
            key = wrong[0] if wrong else "preset"
            known = f" (known: {', '.join(PRESETS)})" if key == "preset" else ""
            raise UserError(f"{sample.name}: {key} = {named[key]!r:.60} is not valid{known}: fix the row")
        chosen, kind = named.get("preset", preset), named.get("variant", variant or ROBUST)
        if chosen is None:
            raise UserError(f"{sample.name}: the row names no preset: say which with --preset")
        if (preset and chosen != preset) or (variant and kind != variant):
            return None
        ours = options if "prefix" not in named else options | {"prefix": named["prefix"]}
        if kind != ROBUST and chosen in PRESETS and "prefix" in named:
            ours = ours | {"prefix": None}  # the tutorial's functions know only how their own prompt ends
        return open_rewards_for(sample, chosen, kind, named.get("eos", eos), **ours)

    return rewards_of


def score(rewards: Scorer, sample: Sample) -> RewardScores:
    """Score one row by every function; a fault of the row is the reason of what is unscored."""
    columns = {key: value for key, value in sample.row.items() if key not in OUR_COLUMNS}
    made = rewards.score(sample.completion, sample.answer, columns)
    return replace(made, reasons=dict.fromkeys(made.reasons, sample.fault)) if sample.fault else made


def check(path: Path, rewards_of: Callable[[Sample], Scorer | None]) -> Check:
    """Compare every row of a corpus with the rewards that `rewards_of` gives for it; None leaves the row out."""
    checked = Check(path)
    for sample in read_samples(path):
        expected = sample.row.get("scores")
        if not isinstance(expected, dict):
            checked.faults.append(f"{sample.name}: {sample.fault or 'the row has no scores to compare with'}")
            continue
        rewards = rewards_of(sample)
        if rewards is None:
            checked.left_out += 1
            continue
        scores = score(rewards, sample)
        checked.rows.append((sample, scores))
        checked.drifts += _drifts(sample, expected, scores, rewards.format)
    return checked


def update(checked: Check) -> None:
    """Write today's scores into the corpus; nothing else in it changes.

    Raises UserError if a row could not be checked, or if the corpus is not a .jsonl file.
    """
    if checked.faults:
        raise UserError(f"{checked.faults[0]}: fix the row before --update")
    if checked.path.suffix != ".jsonl":
        raise UserError(f"{checked.path}: --update writes .jsonl files: keep the corpus as one")
    today = {sample.name: sample.row | _expectations(sample, scores) for sample, scores in checked.rows}
    write_lines(checked.path, (today.get(sample.name, sample.row) for sample in read_samples(checked.path)))


def _expectations(sample: Sample, made: RewardScores) -> dict[str, Any]:
    """The columns of a row that say what its rewards are, with today's values."""
    now = {"scores": made.scores, "extracted": made.extracted, "reasons": made.reasons}
    return {key: value for key, value in now.items() if key in sample.row}


def _drifts(sample: Sample, stored: dict[str, Any], today: RewardScores, format: Format | None) -> list[Drift]:
    drifts = []
    for name in {**stored, **today.scores}:
        expected = _number(stored[name]) if name in stored else MISSING
        got = today.scores.get(name, MISSING)
        if not _same(expected, got):
            why = today.whys.get(name) or today.reasons.get(name) or "there is no function of that name"
            drifts.append(Drift(sample, name, expected, got, why, format))
    return drifts


def _number(value: Any) -> float | None:
    """A stored score; a text such as "error" stands for a function that raised: unscored."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _same(expected: float | str | None, got: float | str | None) -> bool:
    if isinstance(expected, float) and isinstance(got, int | float):
        return math.isclose(expected, got, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return expected == got
