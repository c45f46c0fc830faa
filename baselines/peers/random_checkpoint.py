"""A checkpoint of a recipe's shape with random weights, to measure speed and memory without a real one.

    python -m baselines.peers.random_checkpoint OUT [--architecture NAME] [--small] [--adapter ADAPTER_OUT]
        [--reply-length TOKENS]

Architectures: gemma3 (4B, the multimodal wrapper as the hub has it: Gemma3ForConditionalGeneration, vision tower
included), gemma3-text (its language model alone) and qwen3 (8B). --small keeps the architecture and shrinks every
figure. The tokenizer is the embedded model's, filled up with words to the whole vocabulary; what ends a turn is said
as the hub's files say it. --reply-length has replies end at varied lengths of about so many tokens, where random
weights would end none. --adapter also makes a rank-8 LoRA that changes things.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GenerationConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
)

from harness.models import checkpoints

TEXT = {
    "vocab_size": 262208, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 1024,
    "max_position_embeddings": 131072, "query_pre_attn_scalar": 256,
}  # fmt: skip
SMALL = {
    "vocab_size": 2048, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 4096,
}  # fmt: skip
QWEN3 = {
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
}  # fmt: skip
ARCHITECTURES = ("gemma3", "gemma3-text", "qwen3")
VISION = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SMALL_VISION = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
# What ends a turn in the hub's checkpoints, in the embedded tokenizer's words: its end of sequence (Gemma's ends no
# turn), all tokens that end a reply (in Gemma's config.json too), and what it pads with (Qwen's is one of them).
END_OF_TURN = "<end_of_turn>"
HUB_ENDS = {
    "gemma3": ("<eos>", ["<eos>", END_OF_TURN], "<pad>"),
    "qwen3": (END_OF_TURN, [END_OF_TURN, "<eos>"], "<eos>"),
}
IMAGE = {"image_size": 896, "patch_size": 14}
# Gemma's processor asks for these.
IMAGE_TOKENS = ("<start_of_image>", "<end_of_image>", "<image_soft_token>", "\n", "\n\n", "\n\n\n", "\n\n\n\n")
PREPROCESSOR = {
    "image_processor_type": "Gemma3ImageProcessor", "processor_class": "Gemma3Processor", "image_seq_length": 256,
    "size": {"height": 896, "width": 896}, "do_resize": True, "do_rescale": True, "do_normalize": True,
    "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2,
}  # fmt: skip
# What adds to the state that goes from layer to layer.
INTO_THE_STATE = ("o_proj", "down_proj")
SEED = 0
# What the words that fill up the vocabulary are made of, behind a space (Ġ) and a syllable that many languages have:
# replies are then read as text, not as number after number, and in no one language.
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]
# Where the words that fill up the vocabulary begin; what marks the two coordinates of their embeddings; the end's logit
# behind a word that closes a reply, and less than 0 by as much behind the others.
FIRST_WORD = 1030
MARK = 0.5
NATS = 50.0


def make_tokenizer(out: Path, size: int, eos: str, pad: str) -> dict[str, int]:
    """The embedded model's tokenizer with words added up to `size` tokens; the ids of IMAGE_TOKENS."""
    source = Path(checkpoints.locate("embedded"))
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "chat_template.jinja", out)
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    (out / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": eos, "pad_token": pad}))
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    taken = set(vocabulary.values()) | {token["id"] for token in tokenizer["added_tokens"]}
    free = iter(number for number in range(size) if number not in taken)
    ids = {}
    for token in IMAGE_TOKENS:
        ids[token] = next(free)
        vocabulary[token] = ids[token]
        tokenizer["added_tokens"].append(
            {"id": ids[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": token.startswith("<")}
        )  # fmt: skip
    for number in free:
        vocabulary["Ġka" + "".join(SYLLABLES[number // 100**place % 100] for place in (2, 1, 0))] = number
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return ids


def make_checkpoint(out: Path, architecture: str, small: bool, reply_length: int | None = None) -> torch.nn.Module:
    """Write config, weights and tokenizer to `out`; the model stays in memory."""
    torch.manual_seed(SEED)
    figures = (QWEN3 if architecture == "qwen3" else TEXT) | (SMALL if small else {})
    eos, ends, pad = HUB_ENDS[architecture.removesuffix("-text")]
    ids = make_tokenizer(out, figures["vocab_size"], eos, pad)
    tokenizer = AutoTokenizer.from_pretrained(out)
    end_ids = tokenizer.convert_tokens_to_ids(ends)
    special = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    special["eos_token_id"] = tokenizer.eos_token_id if architecture == "qwen3" else end_ids
    text = (Qwen3Config if architecture == "qwen3" else Gemma3TextConfig)(**figures, **special)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        if architecture == "qwen3":
            model = Qwen3ForCausalLM(text)
        elif architecture == "gemma3-text":
            model = Gemma3ForCausalLM(text)
        else:
            vision = SiglipVisionConfig(**(SMALL_VISION if small else VISION), **IMAGE, vision_use_head=False)
            model = Gemma3ForConditionalGeneration(
                Gemma3Config(
                    text_config=text, vision_config=vision, mm_tokens_per_image=256,
                    boi_token_index=ids["<start_of_image>"], eoi_token_index=ids["<end_of_image>"],
                    image_token_index=ids["<image_soft_token>"], eos_token_id=end_ids,
                )
            )  # fmt: skip
        torch.set_default_dtype(torch.float32)
    model.generation_config = GenerationConfig(**special | {"eos_token_id": end_ids})
    if reply_length:
        end_replies(model, tokenizer.convert_tokens_to_ids(END_OF_TURN), reply_length)
    model.save_pretrained(out, max_shard_size="20GB")
    if architecture == "gemma3":
        _name_as_the_hub(out)
        (out / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
        settings = json.loads((out / "tokenizer_config.json").read_text())
        named = {"boi_token": IMAGE_TOKENS[0], "eoi_token": IMAGE_TOKENS[1], "image_token": IMAGE_TOKENS[2]}
        (out / "tokenizer_config.json").write_text(json.dumps(settings | named | {"extra_special_tokens": named}))
    return model


@torch.no_grad()
def end_replies(model: torch.nn.Module, end: int, length: int) -> None:
    """Make replies end after the first of their words that closes one, as one word in `length` does.

    So they end at varied lengths whatever the sampling settings are; greedy ones mostly go in circles before. No layer
    writes to two coordinates of the state: the first is the same for all tokens, a bias of the end's logit; the second
    says whether the token closes a reply.
    """
    for name, module in model.named_modules():
        if name.endswith(INTO_THE_STATE):
            module.weight[:2] = 0
    words, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    torch.manual_seed(SEED)
    closes = torch.rand(len(words) - FIRST_WORD, device=words.device) < len(words) / (len(words) - FIRST_WORD) / length
    head[:, :2] = 0
    words[:, 0], words[FIRST_WORD:, 1] = MARK, MARK * closes
    some = torch.arange(FIRST_WORD, FIRST_WORD + 64, device=words.device)[None]
    bias = model(some, output_hidden_states=True, logits_to_keep=1).hidden_states[-1][0, :, 0].float().mean()
    head[end, :2] = torch.tensor([-1, 2], device=head.device) * NATS / bias


def _name_as_the_hub(out: Path) -> None:
    """The vision tower's keys as the hub's checkpoint has them, which transformers 5 no longer writes."""
    from safetensors.torch import load_file, save_file

    for file in out.glob("*.safetensors"):
        tensors = load_file(file)
        renamed = {
            key.replace("vision_tower.", "vision_tower.vision_model.", 1)
            if "vision_tower." in key and "vision_model." not in key
            else key: tensor
            for key, tensor in tensors.items()
        }
        save_file(renamed, file, metadata={"format": "pt"})


def make_adapter(model: torch.nn.Module, out: Path, rank: int = 8, spread: float = 0.02) -> None:
    """A LoRA on the language layers, its lora_B random with a standard deviation of `spread`.

    It leaves the two coordinates alone that end replies.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(SEED)
    names = [name for name, _ in model.named_modules() if "vision" not in name and name.endswith("_proj")]
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=spread)
            if any(each in name for each in INTO_THE_STATE):
                parameter.data[:2] = 0
    adapted.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="gemma3")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--reply-length", type=int)
    parser.add_argument("--adapter", type=Path)
    arguments = parser.parse_args()
    made = make_checkpoint(arguments.out, arguments.architecture, arguments.small, arguments.reply_length)
    if arguments.adapter:
        make_adapter(made, arguments.adapter)
    print(f"{arguments.out}: {sum(parameter.numel() for parameter in made.parameters()):,} parameters")
