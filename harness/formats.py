"""The output contract, stated once: what the prompt asks for, how a reply is read, when it complies."""

from dataclasses import dataclass

from harness.answers import stated_answer
from harness.language import language_name
from harness.types import Format

FORMATS = {
    "working-out": Format(
        name="working-out",
        reasoning_tags=("<start_working_out>", "<end_working_out>"),
        answer_tags=("<SOLUTION>", "</SOLUTION>"),
        instructions=(
            "Solve the problem that follows. Write how you reach the result between "
            "<start_working_out> and <end_working_out>, then the result alone between <SOLUTION> and </SOLUTION>."
        ),
        rewards="gemma3",
    ),
    "think": Format(
        name="think",
        reasoning_tags=("<think>", "</think>"),
        answer_tags=None,
        instructions=(
            "Solve the problem that follows. Think about it step by step between <think> and </think>, "
            "then state the result."
        ),
        rewards="deepseek-r1",
    ),
    "xml": Format(
        name="xml",
        reasoning_tags=("<reasoning>", "</reasoning>"),
        answer_tags=("<answer>", "</answer>"),
        instructions=(
            "Solve the problem that follows. Reply in this layout, with each tag on a line of its own:\n"
            "<reasoning>\nhow you reach the result\n</reasoning>\n<answer>\nthe result alone\n</answer>"
        ),
        rewards="xml",
    ),
}

END_OF_SEQUENCE = (
    "<end_of_turn>", "<eos>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "</s>",
)  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    r"""A reply as its format reads it.

    `reasoning` and `answer` are None where their tags are missing; where the answer part is free text (think),
    `answer` is what that text states: its last \boxed{}, else its last number. `strict`: each tag once and in
    order, both parts with something in them, nothing but white space and one end-of-sequence token outside.
    `tag_share`: the share of the format's tags that occur exactly once.
    """

    reasoning: str | None
    answer: str | None
    strict: bool
    tag_share: float


def system_prompt(format: Format, language: str | None) -> str:
    """The text that asks for `format`; a target language other than English is asked for by name."""
    if language in (None, "en"):
        return format.instructions
    return f"{format.instructions}\nYou must reason in {language_name(language)}."


def messages(question: str, system: str | None) -> list[dict[str, str]]:
    """The conversation that asks `question`, in the chat layout of OpenAI and the hub's templates."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}]


def prompt_prefix(prompt: str, format: Format) -> str:
    """The opening reasoning tag where the rendered prompt ends with it: then it is part of the reply."""
    opening = format.reasoning_tags[0]
    return opening if prompt.rstrip().endswith(opening) else ""


def parse(reply: str, format: Format) -> Parsed:
    """Read one reply, in time linear in its length."""
    body = _without_end_of_sequence(reply.strip())
    tag_share = sum(body.count(tag) == 1 for tag in format.tags) / len(format.tags)
    reasoning = _between(body, *format.reasoning_tags)
    if format.answer_tags:
        answer = _between(body, *format.answer_tags)
    else:
        _, closed, tail = body.rpartition(format.reasoning_tags[1])
        answer = stated_answer(tail) if closed else None
    return Parsed(reasoning, answer, tag_share == 1.0 and _is_laid_out(body, format), tag_share)


def _without_end_of_sequence(body: str) -> str:
    for token in END_OF_SEQUENCE:
        if body.endswith(token):
            return body.removesuffix(token).rstrip()
    return body


def _between(body: str, opening: str, closing: str) -> str | None:
    """The text of the last complete pair, which is the one that a reader takes for final."""
    end = body.rfind(closing)
    start = body.rfind(opening, 0, end) if end >= 0 else -1
    return body[start + len(opening) : end].strip() if start >= 0 else None


def _is_laid_out(body: str, format: Format) -> bool:
    """Whether `body`, in which each tag occurs once, has them in order with nothing outside."""
    parts, rest = [], body
    for tag in format.tags:
        part, found, rest = rest.partition(tag)
        if not found:
            return False
        parts.append(part.strip())
    parts.append(rest.strip())
    filled = (1, 3) if format.answer_tags else (1, 2)
    return all(bool(part) == (place in filled) for place, part in enumerate(parts))
