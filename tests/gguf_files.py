"""GGUF files made for a test: one layer, random weights, a vocabulary of single bytes or of a few pieces."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from transformers.convert_slow_tokenizer import bytes_to_unicode

WIDTH, HEADS, INNER = 64, 2, 96
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTES = [*MARKS, *bytes_to_unicode().values(), "ĠĠ", "ĊĊ", "Ġ4", "ab"]
MERGES = ["Ġ Ġ", "Ċ Ċ", "Ġ 4", "a b"]
TEMPLATE = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NORMAL, CONTROL = 1, 3


def tensors(vocabulary: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A Llama's, by their GGUF names."""
    draw = np.random.default_rng(seed)
    shapes = {"token_embd": (vocabulary, WIDTH), "blk.0.ffn_down": (WIDTH, INNER)}
    shapes |= {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")}
    shapes |= dict.fromkeys(("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"), (WIDTH,))
    return {f"{name}.weight": draw.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def write(file: Path, more: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    """A file of Q8_0 weights and `more` tensors; `changes` are metadata: two underscores are a dot, None leaves out."""
    architecture = changes.pop("general__architecture", "llama")
    writer = GGUFWriter(file, architecture)
    values: dict[str, Any] = {
        "general.file_type": 7,
        f"{architecture}.block_count": 1,
        f"{architecture}.context_length": 2048,
        f"{architecture}.embedding_length": WIDTH,
        f"{architecture}.feed_forward_length": INNER,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": HEADS,
        f"{architecture}.rope.dimension_count": WIDTH // HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.freq_base": 1e4,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": BYTES,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    }
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    vocabulary = values["tokenizer.ggml.tokens"]
    values.setdefault("tokenizer.ggml.token_type", [CONTROL if token in MARKS else NORMAL for token in vocabulary])
    for key, value in values.items():
        _add(writer, key, value)
    for name, tensor in (tensors(len(vocabulary)) | (more or {})).items():
        if tensor.ndim == 2:
            writer.add_tensor(name, quantize(tensor, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    kinds = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    if value is not None:
        kinds.get(type(value), writer.add_array)(key, value)
