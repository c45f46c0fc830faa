"""Completion -> Score: every metric and reward of one reply, by the one parser."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.config import Configuration
from harness.parsing import answers, formats
from harness.parsing.answers import Unscorable
from harness.parsing.formats import FORMATS
from harness.parsing.language import UNDETERMINED, label, prose, raw_label
from harness.rewards import Rewards, load_rewards
from harness.rewards.own import OwnRewards, load_own
from harness.rewards.reward_scores import RewardScores
from harness.types import CUT_OFF, Completion, Equality, Format, Score

NO_ROOM = "the question leaves no room in the model's context"
TEXT_METRICS = (
    "format_strict", "format_tags", "accuracy_strict", "accuracy_flexible", "language_ratio", "language_raw",
)  # fmt: skip


def score_all(completions: Sequence[Completion], config: Configuration, equality: Equality) -> list[Score]:
    """Scores in the order of `completions`."""
    format, target = FORMATS[config.format], config.target_language

    @cache
    def rewards_behind(prefix: str) -> Rewards | OwnRewards:
        return _rewards(config, equality, prefix)

    return [
        _unasked(each, target, rewards_behind(each.prefix).names)
        if each.is_unasked
        else _score(
            each,
            grade(each.reply, each.answer, format, equality, target, finished=each.finish_reason != CUT_OFF),
            rewards_behind(each.prefix).score(
                each.text, each.answer, {"prompt": each.question, "finish_reason": each.finish_reason}
            ),
        )
        for each in completions
    ]


def reward_names(config: Configuration) -> list[str]:
    """The reward functions in force; a UserError where the user's own file has none."""
    return list(_rewards(config, "number", "").names)


def _rewards(config: Configuration, equality: Equality, prefix: str) -> Rewards | OwnRewards:
    if config.has_own_rewards:
        return load_own(Path(config.rewards), plain=False)
    return load_rewards(
        config.rewards,
        config.variant,
        format=FORMATS[config.format],
        equality=equality,
        language=config.target_language,
        prefix=prefix,
    )


def _unasked(completion: Completion, target: str | None, rewards: Sequence[str]) -> Score:
    graded = unscored_text(NO_ROOM, target)
    names = [*graded.scores, "truncated", "tokens", *(f"reward/{name}" for name in rewards)]
    unscored, reasons = dict.fromkeys(names), dict.fromkeys(names, NO_ROOM)
    return Score(completion.problem_id, completion.index, None, graded.language, unscored, reasons)


@dataclass(frozen=True)
class TextScores:
    """What the metrics say of one reply; `reasons` has one for each score that is None."""

    extracted: str | None
    language: str
    scores: dict[str, float | None]
    reasons: dict[str, str]


def grade(
    reply: str,
    answer: str | None,
    format: Format,
    equality: Equality,
    target: str | None,
    *,
    eos: str | None = None,
    finished: bool = True,
) -> TextScores:
    """Every metric that a reply's text and its true answer decide; with no `target` no language is asked for.

    `eos` ends a reply as any known model's end token does; one that was cut off, not `finished`, has only the answer
    that it has stated.
    """
    parsed = formats.parse(reply, format, eos, finished)
    final = formats.final_answer(parsed, finished)
    scores: dict[str, float | None] = {"format_strict": float(parsed.strict), "format_tags": parsed.tag_share}
    reasons: dict[str, str] = {}
    try:
        right = answers.is_right(final, answer, equality)
    except Unscorable as error:
        right, reasons = None, dict.fromkeys(("accuracy_strict", "accuracy_flexible"), str(error))
    in_layout = parsed.strict and bool(parsed.answer)
    scores["accuracy_strict"] = None if right is None else float(right and in_layout)
    scores["accuracy_flexible"] = None if right is None else float(right)
    language = label(prose(parsed.reasoning or parsed.body))
    if target:
        scores["language_ratio"] = float(language == target)
        scores["language_raw"] = float(raw_label(reply) == target)
    return TextScores(final.text if final else None, language, scores, reasons)


def unscored_text(reason: str | None, target: str | None) -> TextScores:
    """What `grade` says where there is no reply to read."""
    names = [name for name in TEXT_METRICS if target or not name.startswith("language")]
    return TextScores(None, UNDETERMINED, dict.fromkeys(names), dict.fromkeys(names, reason or "no reply"))


def _score(completion: Completion, graded: TextScores, paid: RewardScores) -> Score:
    scores = graded.scores | {
        "truncated": float(completion.finish_reason == CUT_OFF),
        "tokens": float(completion.n_tokens),
        **{f"reward/{name}": value for name, value in paid.scores.items()},
    }
    reasons = graded.reasons | {f"reward/{name}": why for name, why in paid.reasons.items()}
    return Score(completion.problem_id, completion.index, graded.extracted, graded.language, scores, reasons)
