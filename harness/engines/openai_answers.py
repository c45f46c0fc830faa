"""What a server answers, read before anything believes it: so many bytes, finite numbers, texts that can be stored."""

import json
import re
from typing import Any

from harness.errors import said, writings
from harness.types import CUT_OFF, FinishReason

# A hosted server's list of hundreds of models takes a megabyte.
PAGE_BYTES = 2**22
ERROR_BYTES = 2**16
# A token takes less, escaped and given under two names; a million, the most that a recipe may ask for, take less yet.
TOKEN_BYTES, BESIDE_TOKENS, MOST_BYTES = 32, 2**18, 2**24
# vLLM gives -9999 for none at all.
LEAST_LOG_PROBABILITY = -1e5
LONGEST_NAME = 300
# A shorter key is one that means nothing ("lm-studio") and may be in a text by chance.
SHORTEST_KEY = 16
# What JSON can encode and UTF-8 cannot.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Stands for what is no text.
UNREADABLE = "\N{REPLACEMENT CHARACTER}"


class InvalidAnswer(Exception):
    """An answer outside the protocol; the message is a few words on it."""


def reply_bytes(max_tokens: int) -> int:
    """The most bytes that an answer with so many tokens may take."""
    return min(MOST_BYTES, BESIDE_TOKENS + TOKEN_BYTES * max_tokens)


def read(content: bytes, longest: int = PAGE_BYTES) -> dict:
    """An answer's JSON object; bytes that are no UTF-8 become replacement characters.

    Raises InvalidAnswer if there is none, or if it takes more than `longest` bytes.
    """
    if len(content) > longest:
        raise InvalidAnswer(f"longer than {longest:,} bytes")
    try:
        answer = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"not JSON: {said(content[:2000].decode('utf-8', 'replace'), 60) or 'nothing'}") from error
    if not isinstance(answer, dict):
        raise InvalidAnswer(f"not an object but {type(answer).__name__}")
    return answer


def number(value: object, least: float, most: float, what: str) -> int | float:
    """A number of an answer. Raises InvalidAnswer if it is none, or not from `least` to `most`."""
    if type(value) not in (int, float) or not least <= value <= most:
        raise InvalidAnswer(f"no {what} from {least:,} to {most:,}")
    return value


def storable(text: object, key: str, what: str, longest: int | None = None) -> str:
    """A server's text without what UTF-8 cannot encode, as it may be stored.

    Raises InvalidAnswer if it is no text, is too long, or contains the `key` that the server was sent.
    """
    if not isinstance(text, str):
        raise InvalidAnswer(f"{what} that is no text but {type(text).__name__}")
    if longest and len(text) > longest:
        raise InvalidAnswer(f"{what} of more than {longest} characters")
    if len(key) >= SHORTEST_KEY and any(each in text for each in writings(key)):
        raise InvalidAnswer(f"{what} that contains the key it was sent")
    return LONE_SURROGATE.sub(UNREADABLE, text)


def choice(answer: dict) -> dict:
    """The one completion of an answer. Raises InvalidAnswer, with the server's own error, if there is none."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        error = answer.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        raise InvalidAnswer(f"no choices, error: {said(message)}" if isinstance(message, str) else "no choices")
    return choices[0]


def text_and_end(answer: dict, key: str) -> tuple[str, FinishReason]:
    """Text and finish reason of the one completion of an answer."""
    one = choice(answer)
    finish = CUT_OFF if one.get("finish_reason") == CUT_OFF else "stop"
    message = one.get("message")
    text = text_of(message, finish) if isinstance(message, dict) else one.get("text")
    return storable(text, key, "a reply"), finish


def text_of(message: dict, finish_reason: str | None) -> str:
    """What the model wrote; if the server has split off the reasoning, with its tags put back."""
    content = message.get("content") or ""
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    for part in (content, reasoning):
        if not isinstance(part, str):
            raise InvalidAnswer(f"a reply that is no text but {type(part).__name__}")
    if not reasoning:
        return content
    cut_off = finish_reason == CUT_OFF and not content
    return f"<think>{reasoning}" if cut_off else f"<think>{reasoning}</think>{content}"


def token_count(answer: dict, least: int, most: int) -> int:
    """How many tokens a completion has, as the server counts. Raises InvalidAnswer if that cannot be."""
    usage = answer.get("usage")
    what, count = "usage.completion_tokens", usage.get("completion_tokens") if isinstance(usage, dict) else None
    if type(count) is not int:
        raise InvalidAnswer(f"no {what}")
    return int(number(count, least, most, what))


def log_probabilities(answer: dict) -> list[float]:
    """The log-probabilities of echoed tokens, without the first, which has none, and the one that was generated."""
    echoed = choice(answer).get("logprobs")
    values: Any = echoed.get("token_logprobs") if isinstance(echoed, dict) else None
    inner = values[1:-1] if isinstance(values, list) else []
    if not inner:
        raise InvalidAnswer("no log-probabilities")
    return [float(number(value, LEAST_LOG_PROBABILITY, 1, "log-probability")) for value in inner]
