"""Check the settings files of a checkpoint, so that a value that a library would misread is named by file and key."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError, cause
from harness.memory import fits_memory

AGAIN = "fix it, or copy the file again from where the model comes from"
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
COUNTS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "max_position_embeddings", "sliding_window",
)  # fmt: skip
# Keys of tokenizer_config.json that transformers does not check and fails on later.
TOKENIZER_KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "model_max_length": ((int, float), "a number"),
    "tokenizer_class": ((str,), "a name"),
    "padding_side": ((str,), "left or right"),
    "model_input_names": ((list,), "a list of names"),
    "added_tokens_decoder": ((dict,), "a table of tokens"),
    "additional_special_tokens": ((list, dict), "a list of tokens"),
    "extra_special_tokens": ((list, dict), "a list of tokens"),
    "auto_map": ((dict,), "a table"),
}
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
# Files from which transformers makes a tokenizer. Without any it makes one of special tokens alone.
TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
# A text that any language model's tokenizer can encode.
PROBE = "What is 12 + 34? The answer is 46."
SUFFIX = ".safetensors"
# Kinds of RoPE scaling that make the context longer than `max_position_embeddings`.
SCALED = ("linear", "dynamic", "yarn")


def check(folder: Path) -> None:
    """Raise UserError for the first wrong value in a checkpoint folder's settings, or if its tokenizer is missing."""
    settings = {name: _settings(folder / name) for name in SETTINGS}
    config = language_model(settings["config.json"])
    for key in COUNTS:
        if config.get(key) is not None and (type(config[key]) is not int or config[key] < 1):
            raise _wrong(folder / "config.json", key, config[key], "a whole number of at least 1")
    for name in ("config.json", "generation_config.json"):
        for key in TOKEN_IDS:
            _check_ids(folder / name, key, settings[name].get(key), config.get("vocab_size"))
    _check_tokenizer_settings(folder / "tokenizer_config.json", settings["tokenizer_config.json"])
    if not any(file for pattern in TOKENIZERS for file in folder.glob(pattern)):
        raise UserError(f"{folder}: no tokenizer.json there: copy the tokenizer's files beside the weights")


def indexed_files(folder: Path) -> set[str]:
    """The names of the weights' files in a folder's index; empty if it has none. Raises UserError if it is wrong."""
    files = set()
    for path in sorted(folder.glob("*.safetensors.index.json")):
        weights = _settings(path).get("weight_map")
        if not isinstance(weights, dict) or not all(map(_is_file_name, weights.values())):
            raise UserError(f"{path}: its weight_map does not give each weight a file of this folder: {AGAIN}")
        files |= set(weights.values())
    return files


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and Path(value).name == value and value.endswith(SUFFIX) and "\0" not in value


def _settings(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: no regular file: {AGAIN}")
    try:
        with fits_memory(path):
            settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({cause(error)}): {AGAIN}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: not a JSON object: {AGAIN}")
    return settings


def _check_tokenizer_settings(path: Path, settings: Mapping[str, Any]) -> None:
    for key in SPECIAL_TOKENS:
        token = settings.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        if token is not None and not isinstance(text, str):
            raise _wrong(path, key, token, "a token's text")
    for key, (kinds, expected) in TOKENIZER_KEYS.items():
        value = settings.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise _wrong(path, key, value, expected)


def _check_ids(path: Path, key: str, value: Any, vocabulary: int | None) -> None:
    """Raise UserError for a token id outside the vocabulary. Llama's first checkpoints have -1 for no pad token."""
    ids = value if isinstance(value, list) and key == "eos_token_id" else [value]
    for each in ids if value is not None else ():
        if type(each) is not int or each < (-1 if key == "pad_token_id" else 0):
            raise _wrong(path, key, each, "a token's number")
        if vocabulary is not None and each >= vocabulary:
            raise _wrong(path, key, each, f"below the {vocabulary} tokens of vocab_size")


def _wrong(path: Path, key: str, value: Any, expected: str) -> UserError:
    return UserError(f"{path}: {key} = {json.dumps(value):.60} is not {expected}: {AGAIN}")


def language_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the language model, which a multimodal wrapper has under `text_config`."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else dict(config)


def context_length(config: Mapping[str, Any]) -> int | None:
    """How many tokens a model reads, prompt and completion together; None if its settings do not say."""
    config = language_model(config)
    length = config.get("max_position_embeddings")
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, dict) else None
    if length and kind in SCALED:
        before = scaling.get("original_max_position_embeddings") or (length if kind != "yarn" else 0)
        length = max(length, int(before * scaling.get("factor", 1)))
    return length


def refuse_another_tokenizer(tokenizer: Any, vocabulary: int | None, where: str) -> None:
    """Raise UserError if a tokenizer cannot encode plain English, or has more tokens than the model's `vocabulary`.

    Added tokens do not count: Gemma 3's text models have one for images, which they never read.
    """
    decoded = tokenizer.decode(tokenizer(PROBE, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
    if "".join(decoded.split()).casefold() != "".join(PROBE.split()).casefold():
        raise UserError(
            f"{where}: its tokenizer reads {PROBE!r} as {decoded!r:.60}: copy the model's own tokenizer beside its "
            "weights"
        )
    if vocabulary is None:
        return
    for name in SPECIAL_TOKENS:
        if (getattr(tokenizer, f"{name}_id") or 0) >= vocabulary:
            token = getattr(tokenizer, name)
            raise UserError(f"{where}: {name} {token!r:.40} is none of the model's {vocabulary} tokens: give its own")
    if tokenizer.vocab_size > vocabulary:
        raise UserError(
            f"{where}: its tokenizer has {tokenizer.vocab_size} tokens, the model {vocabulary}: copy the model's own "
            "tokenizer beside its weights"
        )
