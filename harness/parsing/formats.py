"""The output contract, in one place: what the prompt asks for, how a reply is read, when it is in the format."""

import hashlib
import re
from typing import NamedTuple

from harness.parsing.answers import Answer
from harness.parsing.language import groups_by_points, language_name, name_in_chinese
from harness.parsing.named_formats import FORMATS
from harness.parsing.numbers import AMBIGUOUS
from harness.parsing.statements import stated
from harness.types import Format

PARTS = ("reasoning", "answer")
# The system prompts that have a name.
DEFAULT, CHINESE, NO_PROMPT = NAMED_PROMPTS = "default", "chinese", "none"
# What ends a turn, or a text, of the models that people train: what follows the first of them is not the reply.
END_TOKENS = (
    "<end_of_turn>", "<turn|>", "<eos>",  # Gemma
    "<|im_end|>", "<|endoftext|>",  # Qwen, SmolLM, Yi, OLMo, Falcon, InternLM
    "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|eot|>", "<|eom|>",  # Llama 3 and 4, Granite
    "<｜end▁of▁sentence｜>", "<|end_of_sentence|>", "<|EOT|>",  # DeepSeek, ERNIE
    "</s>",  # Llama 2, Mistral, Baichuan, MiniCPM
    "<|end|>", "<|return|>", "<|call|>",  # Phi, gpt-oss
    "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>",  # Cohere
    "[|endofturn|]", "<|endofturn|>", "<seed:eos>", "<|eos|>", "[e~[", "<|assistant_end|>", "<|user|>",
    "<|observation|>",  # EXAONE, HyperCLOVA, Seed, Hunyuan, MiniMax, Apertus, GLM
)  # fmt: skip
_BRACKETED = tuple([token for token in END_TOKENS if token.startswith("[")])
# All of these begin with the same sign, for which `re` looks much faster than for one of two.
_END_TOKEN = re.compile("|".join(re.escape(token) for token in END_TOKENS if token.startswith("<")))


class Parsed(NamedTuple):
    r"""A reply as its format reads it.

    `body` is the reply up to its first end token. `reasoning` and `given` are None where their tags are missing; where
    the answer part is free text (think), `given` is what that text states: its last explicit statement, else, of a
    finished reply, its last number. `strict`: in the required format, which is each tag once and in order, both parts
    not empty, and nothing but white space outside. `once` and `in_place`: of each of the format's tags, whether it
    occurs exactly once, and whether it does so behind those before it. `trailing` is what follows the layout.
    """

    body: str
    reasoning: str | None
    given: Answer | None
    strict: bool
    once: tuple[bool, ...]
    in_place: tuple[bool, ...]
    trailing: str

    @property
    def answer(self) -> str | None:
        """The text of the given answer."""
        return self.given.text if self.given else None

    @property
    def tag_share(self) -> float:
        """The share of the format's tags that occur exactly once."""
        return sum(self.once) / len(self.once)


def system_prompt(format: Format, language: str | None, in_chinese: bool = False) -> str:
    """The instructions of a format; a target language other than their own is asked for by name."""
    own, instructions = ("zh", format.chinese) if in_chinese else ("en", format.instructions)
    if language in (None, own):
        return instructions
    if in_chinese:
        return f"{instructions}\n你必须用{name_in_chinese(language)}思考。"
    return f"{instructions}\nYou must reason in {language_name(language)}."


def lay_out(reasoning: str, answer: str, format: Format) -> str:
    """Write a reply in the format; tags of a reasoning model within `reasoning` are left out."""
    for tag in (*format.tags, *FORMATS["think"].tags):
        reasoning = reasoning.replace(tag, "")
    return format.layout.format(reasoning=reasoning.strip(), answer=answer)


def messages(question: str, system: str | None) -> list[dict[str, str]]:
    """The conversation that asks `question`, in the chat layout of OpenAI and the hub's templates."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}]


def prompt_sha(prompt: str) -> str:
    """A short hash that identifies a rendered prompt."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def prompt_prefix(prompt: str, format: Format) -> str:
    """How a rendered prompt begins the reply: the opening reasoning tag where it ends with it, else nothing."""
    opening = format.reasoning_tags[0]
    return opening if prompt.rstrip().endswith(opening) else ""


def parse(reply: str, format: Format, eos: str | None = None, finished: bool = True) -> Parsed:
    """Read one reply, in time linear in its length, up to the first end token: any known model's, or `eos`.

    Of a reply that was cut off, not `finished`, no last number is read.
    """
    body = reply[: _end(reply, eos)].strip()
    first = [body.find(tag) for tag in format.tags]
    last = [body.rfind(tag) for tag in format.tags]
    once = tuple([place >= 0 and place == other for place, other in zip(first, last, strict=True)])
    in_place, behind = [], -1
    for place, single in zip(first, once, strict=True):
        in_place.append(single and place > behind)
        behind = max(behind, place) if single else behind
    places = _part_places(body, format, last)
    reasoning, answer = [None if place is None else body[place[0] : place[1]].strip() for place in places]
    end = last[-1] + len(format.tags[-1])
    trailing = body[end:].strip() if format.answer_tags and last[-1] >= 0 else ""
    strict = all(in_place) and first[0] == 0 and not trailing and bool(reasoning) and bool(answer)
    if strict and format.answer_tags:
        strict = not body[places[0][1] + len(format.tags[1]) : first[2]].strip()
    part = ""
    if answer is not None and not format.answer_tags:
        part, answer = answer if finished else "", stated(answer, finished)
    given = None if answer is None else answer_in(answer, part, reasoning or body)
    return Parsed(body, reasoning, given, strict, once, tuple(in_place), trailing)


def answer_in(text: str, part: str, context: str) -> Answer:
    """Make an Answer that knows how its reply groups digits, by the language of `context` where they leave it open."""
    points = ("." in text or "," in text) and bool(AMBIGUOUS.search(text)) and groups_by_points(context)
    return Answer(text, part, points)


def final_answer(parsed: Parsed, finished: bool = True) -> Answer | None:
    """The answer of a reply: the one in the format, else what its text states, wherever that stands."""
    if parsed.answer:
        return parsed.given
    text = stated(parsed.body, finished)
    return None if text is None else answer_in(text, parsed.body if finished else "", parsed.body)


def part_places(reply: str, format: Format) -> dict[str, tuple[int, int]]:
    """Where `reasoning` and `answer` stand in a reply, as (start, end); a part that is missing is left out."""
    body = reply[: _end(reply, None)]
    places = _part_places(body, format, [body.rfind(tag) for tag in format.tags])
    return {name: place for name, place in zip(PARTS, places, strict=True) if place}


def tag_places(reply: str, format: Format) -> list[tuple[int, str]]:
    """Every tag of the format that the reply has, with its place, in the order of the reply."""
    return sorted((match.start(), tag) for tag in format.tags for match in re.finditer(re.escape(tag), reply))


def breach(reply: str, format: Format, eos: str | None = None) -> str | None:
    """Why a reply is not in the required format, in words; None where it is."""
    parsed = parse(reply, format, eos)
    if parsed.strict:
        return None
    for tag, once, in_place in zip(format.tags, parsed.once, parsed.in_place, strict=True):
        if not once:
            return f"{tag} occurs {parsed.body.count(tag)} times, not once"
        if not in_place:
            return f"{tag} stands out of order"
    if not parsed.reasoning:
        return "nothing between the reasoning tags"
    if parsed.trailing:
        return "text behind the layout"
    if not parsed.body.startswith(format.tags[0]):
        return "text before the layout"
    if not format.answer_tags:
        return f"nothing behind {format.tags[-1]}"
    return "nothing between the answer tags" if not parsed.answer else "text between the two parts"


def _end(reply: str, eos: str | None) -> int:
    """Where the first end token stands, or the reply's length."""
    match = _END_TOKEN.search(reply)
    end = match.start() if match else len(reply)
    if eos or "[" in reply:
        for token in (*_BRACKETED, eos or _BRACKETED[0]):
            place = reply.find(token, 0, end)
            end = place if place >= 0 else end
    return end


def _part_places(body: str, format: Format, last: list[int]) -> tuple[tuple[int, int] | None, ...]:
    """Of the reasoning and the answer; each is the last complete pair of its tags, which a reader takes for final.

    `last` is where each of the format's tags stands last.
    """
    reasoning = _between(body, format.tags[0], last[0], last[1])
    if format.answer_tags:
        return reasoning, _between(body, format.tags[2], last[2], last[3])
    return reasoning, (last[1] + len(format.tags[1]), len(body)) if last[1] >= 0 else None


def _between(body: str, tag: str, opening: int, closing: int) -> tuple[int, int] | None:
    if opening > closing:
        opening = body.rfind(tag, 0, closing) if closing >= 0 else -1
    return (opening + len(tag), closing) if opening >= 0 else None
