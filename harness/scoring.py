"""Completion -> Score: every metric and reward of one reply, by the one parser."""

from collections.abc import Sequence

from harness import answers, formats, rewards
from harness.answers import Unscorable
from harness.config import Configuration
from harness.formats import FORMATS
from harness.language import label, prose, raw_label
from harness.types import Completion, Equality, Format, Score

NOT_COMPARED = "the row has no true answer that the reply's could be compared with"


def score_all(completions: Sequence[Completion], config: Configuration, equality: Equality) -> list[Score]:
    """Scores in the order of `completions`."""
    format, target = FORMATS[config.format], config.target_language
    functions = rewards.functions(
        config.rewards, config.variant, equality=equality, language=target, format=format, prefix=""
    )
    paid = {
        function.__name__: function(
            prompts=[each.question for each in completions],
            completions=[each.text if config.variant == "tutorial" else each.reply for each in completions],
            answer=[each.answer for each in completions],
        )
        for function in functions
    }
    return [
        _score(completion, format, equality, target, {f"reward/{name}": values[place] for name, values in paid.items()})
        for place, completion in enumerate(completions)
    ]


def _score(
    completion: Completion, format: Format, equality: Equality, target: str | None, paid: dict[str, float | None]
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
    reasons |= {name: NOT_COMPARED for name, value in paid.items() if value is None}
    scores["truncated"] = float(completion.finish_reason == "length")
    scores["tokens"] = float(completion.n_tokens)
    return Score(completion.problem_id, completion.index, extracted, language, scores | paid, reasons)
