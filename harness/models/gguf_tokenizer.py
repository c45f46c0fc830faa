"""The tokenizer that a GGUF file describes, as its model's makers published it.

Built from the file's own metadata with the library tokenizers: transformers' conversion depends on the architecture
alone, so it splits alike for every Llama, confuses eos with bos, and reads Gemma's merges as a unigram model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UserError

# Values of tokenizer.ggml.token_type.
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}"
QWEN2 = rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{REST}"


class Header(Protocol):
    """A GGUF file's metadata."""

    def get(self, key: str, default: Any = None) -> Any: ...


@dataclass(frozen=True)
class Splitting:
    """How a byte-level tokenizer cuts a text before it merges; `pattern` is empty for GPT-2's own.

    `digits`: each is a piece of its own first. `composed`: the text is put into Unicode's form NFC. `whole`: a piece
    that is a token is not taken apart.
    """

    pattern: str = ""
    digits: bool = False
    composed: bool = False
    whole: bool = False


# By tokenizer.ggml.pre; the names are llama.cpp's, the rules those of the models' own tokenizer.json.
SPLITTINGS = {
    "gpt-2": Splitting(),
    "smollm": Splitting(digits=True),
    "llama-bpe": Splitting(LLAMA3, whole=True),
    "llama3": Splitting(LLAMA3, whole=True),
    "llama-v3": Splitting(LLAMA3, whole=True),
    "qwen2": Splitting(QWEN2, composed=True),
    "deepseek-r1-qwen": Splitting(QWEN2),
}
BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"


def check(file: Path, header: Header) -> None:
    """Raise UserError if the file's tokenizer is of a kind that is not known here."""
    kind, rules = header.get("tokenizer.ggml.model"), header.get("tokenizer.ggml.pre")
    known = kind == SENTENCEPIECE or (kind == BYTE_LEVEL and rules in SPLITTINGS)
    if not known or header.get("tokenizer.ggml.eos_token_id") is None:
        raise UserError(
            f"--model {file}: its tokenizer (kind {kind}, rules {rules}) is not known here: give the model's own "
            "folder of safetensors"
        )


def tokenizer_of(header: Header) -> Any:
    """Transformers' tokenizer, with the file's chat template if it has one."""
    from transformers import PreTrainedTokenizerFast

    tokens = header.get("tokenizer.ggml.tokens")
    is_sentencepiece = header.get("tokenizer.ggml.model") == SENTENCEPIECE
    places = {name: header.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "unknown", "padding")}
    named = {name: None if place is None else tokens[place] for name, place in places.items()}
    begins = header.get("tokenizer.ggml.add_bos_token", is_sentencepiece)
    return PreTrainedTokenizerFast(
        tokenizer_object=_sentencepiece(header, tokens) if is_sentencepiece else _byte_level(header, tokens),
        bos_token=named["bos"],
        eos_token=named["eos"],
        unk_token=named["unknown"],
        pad_token=named["padding"],
        add_bos_token=bool(begins and named["bos"]),
        add_eos_token=bool(header.get("tokenizer.ggml.add_eos_token", False)),
        model_max_length=header.get(f"{header.get('general.architecture')}.context_length"),
        clean_up_tokenization_spaces=False,
        chat_template=header.get("tokenizer.chat_template"),
    )


def _byte_level(header: Header, tokens: list[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    rules = SPLITTINGS[header.get("tokenizer.ggml.pre")]
    merges = [tuple(merge.split(" ")) for merge in header.get("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(_places(tokens), merges, ignore_merges=rules.whole))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if rules.digits else []
    if rules.pattern:
        steps.append(pre_tokenizers.Split(Regex(rules.pattern), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not rules.pattern))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if rules.composed:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return _with_added_tokens(tokenizer, header, tokens)


def _sentencepiece(header: Header, tokens: list[str]) -> Any:
    """A tokenizer that merges pieces by their scores, the highest first, and encodes the rest as bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers.tokenization_utils_base import generate_merges

    places, scores = _places(tokens), header.get("tokenizer.ggml.scores")
    types = header.get("tokenizer.ggml.token_type")
    apart = {token for token, type_ in zip(tokens, types, strict=True) if type_ != NORMAL}
    merges = generate_merges(places, dict(zip(tokens, scores, strict=True)), skip_tokens=apart)
    unknown = header.get("tokenizer.ggml.unknown_token_id")
    tokenizer = Tokenizer(
        models.BPE(
            places,
            merges,
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    begins_with_space = header.get("tokenizer.ggml.add_space_prefix", True)
    spaces = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if begins_with_space else spaces)
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if begins_with_space else back)
    return _with_added_tokens(tokenizer, header, tokens)


def _places(tokens: list[str]) -> Mapping[str, int]:
    return {token: place for place, token in enumerate(tokens)}


def _with_added_tokens(tokenizer: Any, header: Header, tokens: list[str]) -> Any:
    """The tokenizer with the tokens that match before all others: hidden control tokens and user-defined words."""
    from tokenizers import AddedToken

    types = header.get("tokenizer.ggml.token_type")
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False) for token, type_ in zip(tokens, types, strict=True) if type_ == CONTROL]
    )
    words = [token for token, type_ in zip(tokens, types, strict=True) if type_ == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in words])
    return tokenizer
