"""Which tokens end a completion, and a pad token that is none of them: one rule for engines and training."""

from collections.abc import Set as AbstractSet
from typing import Any

from harness.models import chat
from harness.models.model_files import language_model
from harness.parsing import formats

# A character that no vocabulary has a token for.
UNHEARD_OF = "\U0010fffd"
NEW_PAD = "<|pad|>"


def end_tokens(tokenizer: Any, generation_config: dict, config: dict) -> frozenset[int]:
    """The ids of all tokens that end a completion.

    These are the ones of generation_config.json, or else of config.json, as in the libraries; the tokenizer's own; and
    the one after a reply in its chat template.
    """
    named = (settings.get("eos_token_id") for settings in (generation_config, config, language_model(config)))
    configured = next(filter(None, map(_ids, named)), [])
    return frozenset(_ids([*configured, tokenizer.eos_token_id, turn_end(tokenizer)]))


def _ids(named: Any) -> list[int]:
    return [token for token in (named if isinstance(named, list) else [named]) if type(token) is int]


def turn_end(tokenizer: Any) -> int | None:
    """The token that the chat template writes after a reply; None if it writes none."""
    added = tokenizer.added_tokens_decoder
    ends = [token for token in _tokens(tokenizer, chat.behind_reply(tokenizer)) if token in added]
    # A template may close a tag of the format first, which can be a token too.
    return next((token for token in ends if added[token].special), ends[0] if ends else None)


def without_end(ids: list[int], ends: AbstractSet[int]) -> list[int]:
    """The tokens of a completion without the one that ended it."""
    return ids[:-1] if ids and ids[-1] in ends else ids


def give_pad_token(tokenizer: Any, ends: AbstractSet[int], config: dict) -> None:
    """Give a tokenizer a pad token that ends no completion and occurs in no conversation.

    If its own does (Qwen's and DeepSeek's are end tokens) or there is none, another special token is used, preferably
    one named for padding, or a new one in an unused row of the embedding. If there is none either, the pad token stays
    as it is, or becomes the end of sequence.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    used = ends | _used(tokenizer)
    if tokenizer.pad_token_id not in used:
        return
    rows = language_model(config).get("vocab_size")
    rows = rows if type(rows) is int else 0
    free = {
        token.content: number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and number not in used and (number < rows or not rows)
    }
    # The last ones are the reserved ones.
    names = sorted(free, key=lambda name: (0, free[name]) if "pad" in name.casefold() else (1, -free[name]))
    if names:
        tokenizer.pad_token = names[0]
    elif max(tokenizer.get_vocab().values()) + 1 < rows:
        tokenizer.add_special_tokens({"pad_token": NEW_PAD})


def _used(tokenizer: Any) -> set[int]:
    """Tokens that occur, or may occur, in a conversation."""
    asked = (formats.messages(chat.QUESTION_PROBE, system) for system in (None, chat.SYSTEM_PROBE))
    texts = [chat.answered(tokenizer, each, chat.REPLY_PROBE) or "" for each in asked]
    used = {token for text in [*texts, UNHEARD_OF] for token in _tokens(tokenizer, text)}
    return used | {tokenizer.bos_token_id, tokenizer.eos_token_id}


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
