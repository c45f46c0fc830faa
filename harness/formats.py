"""The output contract, stated once: what the prompt asks for, how a reply is read, when it complies."""

import re
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

PARTS = ("reasoning", "answer")
END_OF_SEQUENCE = (
    "<end_of_turn>", "<eos>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "</s>",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parsed:
    r"""A reply as its format reads it.

    `reasoning` and `answer` are None where their tags are missing; where the answer part is free text (think),
    `answer` is what that text states: its last \boxed{}, else its last number. `strict`: each tag once and in
    order, both parts with something in them, nothing but white space and one end-of-sequence token outside.
    `once` and `in_place`: of each of the format's tags, whether it occurs exactly once, and whether it does so
    behind those before it. `trailing` is what follows the layout.
    """

    reasoning: str | None
    answer: str | None
    strict: bool
    once: tuple[bool, ...]
    in_place: tuple[bool, ...]
    trailing: str

    @property
    def tag_share(self) -> float:
        """The share of the format's tags that occur exactly once."""
        return sum(self.once) / len(self.once)


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


def parse(reply: str, format: Format, eos: str | None = None) -> Parsed:
    """Read one reply, in time linear in its length; it may end with `eos`, or with any known model's."""
    body = _body(reply, eos)
    once = tuple([body.count(tag) == 1 for tag in format.tags])
    in_place = _in_place(body, format.tags, once)
    places = part_places(body, format)
    reasoning, answer = (body[slice(*places[name])].strip() if name in places else None for name in PARTS)
    if answer is not None and not format.answer_tags:
        answer = stated_answer(answer)
    trailing = body.rpartition(format.tags[-1])[2].strip() if format.answer_tags and answer is not None else ""
    strict = all(in_place) and _is_filled(body, format)
    return Parsed(reasoning, answer, strict, once, in_place, trailing)


def tag_places(reply: str, format: Format) -> list[tuple[int, str]]:
    """Every tag of the format that the reply has, with its place, in the order of the reply."""
    return sorted(
        (found.start(), tag) for tag in format.tags for found in re.finditer(re.escape(tag), reply)
    )


def breach(reply: str, format: Format, eos: str | None = None) -> str | None:
    """What keeps a reply from being exactly the layout, in words; None where nothing does."""
    parsed = parse(reply, format, eos)
    if parsed.strict:
        return None
    for tag, once, in_place in zip(format.tags, parsed.once, parsed.in_place, strict=True):
        if not once:
            return f"{tag} occurs {_body(reply, eos).count(tag)} times, not once"
        if not in_place:
            return f"{tag} stands out of order"
    if not parsed.reasoning:
        return "nothing between the reasoning tags"
    if parsed.trailing:
        return "text behind the layout"
    body = _body(reply, eos)
    if not body.startswith(format.tags[0]):
        return "text before the layout"
    if not format.answer_tags:
        return f"nothing behind {format.tags[-1]}"
    return "nothing between the answer tags" if not parsed.answer else "text between the two parts"


def _body(reply: str, eos: str | None) -> str:
    body = reply.strip()
    tokens = (eos,) if eos else END_OF_SEQUENCE
    if body.endswith(tokens):
        ending = next(token for token in tokens if body.endswith(token))
        return body.removesuffix(ending).rstrip()
    return body


def _in_place(body: str, tags: tuple[str, ...], once: tuple[bool, ...]) -> tuple[bool, ...]:
    last, found = -1, []
    for tag, single in zip(tags, once, strict=True):
        place = body.find(tag) if single else -1
        found.append(place > last)
        last = max(last, place)
    return tuple(found)


def part_places(body: str, format: Format) -> dict[str, tuple[int, int]]:
    """Where `reasoning` and `answer` stand, as (start, end); a part that is missing is left out.

    Each is the last complete pair of its tags, which is the one that a reader takes for final.
    """
    found = {"reasoning": _between(body, *format.reasoning_tags)}
    if format.answer_tags:
        found["answer"] = _between(body, *format.answer_tags)
    else:
        closed = body.rfind(format.reasoning_tags[1])
        found["answer"] = (closed + len(format.reasoning_tags[1]), len(body)) if closed >= 0 else None
    return {name: place for name, place in found.items() if place}


def _between(body: str, opening: str, closing: str) -> tuple[int, int] | None:
    end = body.rfind(closing)
    start = body.rfind(opening, 0, end) if end >= 0 else -1
    return (start + len(opening), end) if start >= 0 else None


def _is_filled(body: str, format: Format) -> bool:
    """Whether `body`, whose tags are in place, has both parts filled and nothing outside."""
    pieces, rest = [], body
    for tag in format.tags:
        piece, _, rest = rest.partition(tag)
        pieces.append(piece.strip())
    pieces.append(rest.strip())
    filled = (1, 3) if format.answer_tags else (1, 2)
    return all(bool(piece) == (place in filled) for place, piece in enumerate(pieces))
