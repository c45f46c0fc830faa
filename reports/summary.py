"""What report.md says besides the page's figures: what was run, in one line, and two sample replies."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.console.markdown import one_line, visible
from harness.types import ACCURACY_STRICT, Completion, Evaluation
from reports.rows import model_title, problems_of
from reports.texts import t

LONGEST, MOST_LINES = 800, 12
INDENT = "    "


@dataclass(frozen=True)
class SampleReply:
    """One reply with its question, and what it is an example of."""

    title: str
    question: str
    answer: str | None
    text: str


def about(side: Evaluation) -> str:
    """Model, problems, replies per problem, engine and device of a side, as far as its version recorded them."""
    settings, known = side.settings, side.provenance
    problems = problems_of(side)
    replies = len(side.completions) // max(problems, 1)
    engine = " on ".join(filter(None, (known.get("engine"), known.get("device")))) or "engine not known"
    model = model_title(settings.get("name", ""), settings.get("checkpoint", ""))
    dataset = settings.get("dataset", "an unnamed dataset")
    each = f"{replies:,} replies" if replies > 1 else "one reply"
    return f"Model {model}, {problems:,} problems of {dataset}, {each} per problem, {engine}."


def sample_replies(side: Evaluation) -> list[SampleReply]:
    """The first reply that is correct and in the required format, and the first that is not, as far as there are."""
    return list(_samples(side))


def code(text: str) -> str:
    """A text as a block of Markdown's code, cut where it is long: indented, as no text can end such a block."""
    lines = text[:LONGEST].split("\n")
    shown = [INDENT + one_line(visible(line)) for line in lines[:MOST_LINES]]
    if len(text) > LONGEST or len(lines) > MOST_LINES:
        shown.append(INDENT + t("… (cut here; the whole reply is in completions.jsonl)"))
    return "\n".join(shown) if text.strip() else INDENT + t("(nothing)")


def _samples(side: Evaluation) -> Iterator[SampleReply]:
    titles = {1: "The first that is correct and in the required format", 0: "The first that is not"}
    for value, title in titles.items():
        if found := _first(side, value):
            yield SampleReply(title, found.question, found.answer, found.reply)


def _first(side: Evaluation, value: int) -> Completion | None:
    scored = zip(side.completions, side.scores, strict=True)
    return next((reply for reply, score in scored if score.scores.get(ACCURACY_STRICT) == value), None)
