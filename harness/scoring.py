"""Completion -> Score: every metric and reward of one reply, by the one parser."""

from collections.abc import Sequence
from functools import cache

from harness import answers, formats
from harness.answers import Unscorable
from harness.config import Configuration
from harness.formats import FORMATS
from harness.language import label, prose, raw_label
from harness.rewards import Judgement, Rewards, load_rewards
from harness.types import Completion, Equality, Format, Score


def score_all(completions: Sequence[Completion], config: Configuration, equality: Equality) -> list[Score]:
    """Scores in the order of `completions`."""
    format, target = FORMATS[config.format], config.target_language

    @cache
    def rewards_behind(prefix: str) -> Rewards:
        return load_rewards(
            config.rewards, config.variant, format=format, equality=equality, language=target, prefix=prefix
        )

    return [
        _score(each, format, equality, target, rewards_behind(each.prefix).judge(each.text, each.answer))
        for each in completions
    ]


def _score(
    completion: Completion, format: Format, equality: Equality, target: str | None, paid: Judgement
) -> Score:
    parsed = formats.parse(completion.reply, format)
    extracted = parsed.answer or answers.final_answer(completion.reply)
    scores: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    scores["format_strict"] = float(parsed.strict)
    scores["format_tags"] = parsed.tag_share
    try:
        right = answers.is_right(extracted, completion.answer, equality)
    except Unscorable as error:
        right, reasons = None, dict.fromkeys(("accuracy_strict", "accuracy_flexible"), str(error))
    in_layout = parsed.strict and bool(parsed.answer)
    scores["accuracy_strict"] = None if right is None else float(right and in_layout)
    scores["accuracy_flexible"] = None if right is None else float(right)
    language = label(prose(parsed.reasoning or completion.reply))
    if target:
        scores["language_ratio"] = float(language == target)
        scores["language_raw"] = float(raw_label(completion.reply) == target)
    scores |= {f"reward/{name}": value for name, value in paid.scores.items()}
    reasons |= {f"reward/{name}": why for name, why in paid.reasons.items()}
    scores["truncated"] = float(completion.finish_reason == "length")
    scores["tokens"] = float(completion.n_tokens)
    return Score(completion.problem_id, completion.index, extracted, language, scores, reasons)
