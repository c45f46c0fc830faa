"""Completion -> Score: every metric and reward of one reply, by the one parser."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.config import Configuration
from harness.parsing import answers, formats
from harness.parsing.answers import Answer, Unscorable
from harness.parsing.formats import Parsed
from harness.parsing.language import UNDETERMINED, label, prose, raw_label
from harness.parsing.named_formats import FORMATS
from harness.rewards import Rewards, load_rewards
from harness.rewards.own import OwnRewards, own_rewards
from harness.rewards.reward_scores import RewardScores
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, CUT_OFF, Completion, Equality, Format, Score

NO_ROOM = "the question leaves no room in the model's context"
TEXT_METRICS = (
    "format_strict", "format_tags", ACCURACY_STRICT, ACCURACY_FLEXIBLE, "language_ratio", "language_raw",
)  # fmt: skip


def score_all(completions: Sequence[Completion], config: Configuration, equality: Equality) -> list[Score]:
    """Score completions; the scores are in their order."""
    format, target = FORMATS[config.format], config.target_language

    @cache
    def rewards_behind(prefix: str) -> Rewards | OwnRewards:
        return _rewards(config, equality, prefix)

    return [
        _unscored(each, target, rewards_behind(each.prefix).names)
        if each.is_unasked
        else _score(
            each,
            score_text(each.reply, each.answer, format, equality, target, finished=each.finish_reason != CUT_OFF),
            rewards_behind(each.prefix).score(
                each.text, each.answer, {"prompt": each.question, "finish_reason": each.finish_reason}
            ),
        )
        for each in completions
    ]


def reward_names(config: Configuration) -> list[str]:
    """The names of the reward functions in force. Raises UserError if the user's own file has none."""
    return list(_rewards(config, "number", "").names)


def _rewards(config: Configuration, equality: Equality, prefix: str) -> Rewards | OwnRewards:
    if config.has_own_rewards:
        return own_rewards(Path(config.rewards), config.rewards_sha)
    return load_rewards(
        config.rewards,
        config.variant,
        format=FORMATS[config.format],
        equality=equality,
        language=config.target_language,
        prefix=prefix,
    )


def _unscored(completion: Completion, target: str | None, rewards: Sequence[str]) -> Score:
    text_scores = unscored_text(NO_ROOM, target)
    names = [*text_scores.scores, "truncated", "tokens", *(f"reward/{name}" for name in rewards)]
    scores, reasons = dict.fromkeys(names), dict.fromkeys(names, NO_ROOM)
    return Score(completion.problem_id, completion.index, None, text_scores.language, scores, reasons)


@dataclass(frozen=True)
class TextScores:
    """The metrics of one completion's text; `reasons` has one for each score that is None."""

    extracted: str | None
    language: str
    scores: dict[str, float | None]
    reasons: dict[str, str]


def score_text(
    reply: str,
    answer: str | None,
    format: Format,
    equality: Equality,
    target: str | None,
    *,
    eos: str | None = None,
    finished: bool = True,
) -> TextScores:
    """Compute every metric that a reply's text and its true answer decide; without `target`, none of the language.

    `eos` ends a reply as any known model's end token does; in one that was cut off, not `finished`, only an answer that
    is stated counts.
    """
    parsed = formats.parse(reply, format, eos, finished)
    final = formats.final_answer(parsed, finished)
    accuracy, reason = _accuracy(parsed, final, answer, equality)
    scores = {"format_strict": float(parsed.strict), "format_tags": parsed.tag_share, **accuracy}
    language = label(prose(parsed.reasoning or parsed.body))
    if target:
        scores["language_ratio"] = float(language == target)
        scores["language_raw"] = float(raw_label(reply) == target)
    reasons = dict.fromkeys(accuracy, reason) if reason else {}
    return TextScores(final.text if final else None, language, scores, reasons)


def score_accuracy(
    reply: str, answer: str | None, format: Format, equality: Equality, finished: bool
) -> dict[str, float | None]:
    """The two accuracies that `score_text` gives, without the model that labels languages."""
    parsed = formats.parse(reply, format, None, finished)
    return _accuracy(parsed, formats.final_answer(parsed, finished), answer, equality)[0]


def _accuracy(
    parsed: Parsed, final: Answer | None, answer: str | None, equality: Equality
) -> tuple[dict[str, float | None], str | None]:
    """The accuracies by name, and why they are None if they are."""
    try:
        correct = answers.is_right(final, answer, equality)
    except Unscorable as error:
        return {ACCURACY_STRICT: None, ACCURACY_FLEXIBLE: None}, str(error)
    in_format = parsed.strict and bool(parsed.answer)
    return {ACCURACY_STRICT: float(correct and in_format), ACCURACY_FLEXIBLE: float(correct)}, None


def unscored_text(reason: str | None, target: str | None) -> TextScores:
    """What `score_text` gives for a completion without text."""
    names = [name for name in TEXT_METRICS if target or not name.startswith("language")]
    return TextScores(None, UNDETERMINED, dict.fromkeys(names), dict.fromkeys(names, reason or "no reply"))


def _score(completion: Completion, text_scores: TextScores, rewards: RewardScores) -> Score:
    scores = text_scores.scores | {
        "truncated": float(completion.finish_reason == CUT_OFF),
        "tokens": float(completion.n_tokens),
        **{f"reward/{name}": value for name, value in rewards.scores.items()},
    }
    reasons = text_scores.reasons | {f"reward/{name}": why for name, why in rewards.reasons.items()}
    return Score(completion.problem_id, completion.index, text_scores.extracted, text_scores.language, scores, reasons)
