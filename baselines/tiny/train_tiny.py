"""Train the embedded model from scratch on the embedded word problems.

    python -m baselines.tiny.train_tiny [--output baselines/tiny/model]

The replies it learns from are a mixture on purpose, so that the model starts as a base model does: about half
of them break the layout that the prompt asks for, some guess instead of working the problem out, and about a
third reason in Indonesian where the prompt asks for it. GRPO then has something to improve.

Measured times and the model's figures: baselines/tiny/README.md.
"""

import argparse
import hashlib
import json
import math
import random
import time
from itertools import islice
from pathlib import Path

from harness.data.word_problems import WordProblem, generate
from harness.parsing.formats import messages, system_prompt
from harness.parsing.named_formats import FORMATS
from harness.types import Format

SEED = 3407
DOCUMENTS = 300_000
STEPS = 3_000
BATCH = 256
LEARNING_RATE = 3e-3
VOCABULARY = 1024

LAYOUT_RIGHT = 0.50
GUESSED = 0.15
INDONESIAN_WHERE_ASKED = 0.36

GUESS = {
    "en": "That is easy to see without any working.",
    "id": "Soal ini mudah sekali, jadi langsung saja dijawab.",
}
CHATTER_BEFORE = ("Let me see.\n", "Sure, here it is.\n")
CHATTER_AFTER = ("\nI hope that this helps.", "\nPlease check it.")

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
CHAT_TEMPLATE = """\
{{ bos_token }}
{%- set opening = messages[0]['content'] + '\\n\\n' if messages[0]['role'] == 'system' else '' -%}
{%- for message in messages if message['role'] != 'system' -%}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' -}}
{{- (opening if loop.first else '') + message['content'] | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""


def reply(problem: WordProblem, format: Format, language: str, draw: random.Random) -> str:
    """One reply of the mixture: perhaps in the wrong language, perhaps guessed, perhaps not in the format."""
    if language == "id" and draw.random() >= INDONESIAN_WHERE_ASKED:
        language = "en"
    reasoning, answer = problem.reasoning[language], problem.problem.answer
    if draw.random() < GUESSED:
        reasoning, answer = GUESS[language], str(int(answer) + draw.choice((-10, -3, -2, -1, 1, 2, 3, 10)))
    return lay_out(reasoning, answer, format, draw)


def lay_out(reasoning: str, answer: str, format: Format, draw: random.Random) -> str:
    tags, fault, head, tail = list(format.tags), "", "", ""
    if draw.random() >= LAYOUT_RIGHT:
        fault = draw.choice(("no tags", "one tag missing", "before", "after" if format.answer_tags else "no tags"))
    if fault == "no tags":
        return f"{reasoning} The answer is {answer}."
    if fault == "one tag missing":
        tags[draw.randrange(len(tags))] = ""
    elif fault == "before":
        head = draw.choice(CHATTER_BEFORE)
    elif fault == "after":
        tail = draw.choice(CHATTER_AFTER)
    parts = [tags[0], reasoning, tags[1]]
    if format.name == "xml":
        parts += [tags[2], answer, tags[3]]
    elif format.answer_tags:
        parts += [f"{tags[2]}{answer}{tags[3]}"]
    else:
        parts += [answer]
    return head + "\n".join(part for part in parts if part) + tail


def documents(count: int, seed: int) -> list[tuple[list[dict], str]]:
    """`count` training pairs (conversation, reply), the formats and languages at random."""
    draw = random.Random(seed)
    made = []
    for problem in islice(generate("train", seed), count):
        format, language = draw.choice(tuple(FORMATS.values())), draw.choice(("en", "id"))
        conversation = messages(problem.problem.question, system_prompt(format, language))
        made.append((conversation, reply(problem, format, language, draw)))
    return made


def make_tokenizer(texts: list[str]):
    """Byte-level BPE with single digits; the formats' tags are ordinary tokens, so that decoding shows them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tags = [tag for format in FORMATS.values() for tag in format.tags]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(tags),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<end_of_turn>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
    )


def make_model(tokenizer):
    """Gemma 3's text architecture at 2.3 million parameters: three sliding layers, then one of full attention."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=256,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Gemma3ForCausalLM(config)


def encode(tokenizer, pairs: list[tuple[list[dict], str]]) -> list[tuple[list[int], int]]:
    """Token ids of prompt and reply together, with the length of the prompt."""
    prompts = [tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c, _ in pairs]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    texts = [prompt + reply + "<end_of_turn>" for prompt, (_, reply) in zip(prompts, pairs, strict=True)]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [(whole, len(prompt)) for whole, prompt in zip(ids, prompt_ids, strict=True)]


def train(model, rows: list[tuple[list[int], int]], device: str, seed: int) -> float:
    """AdamW with a cosine schedule on the reply tokens; returns the mean loss of the last hundred steps."""
    import torch
    from rich.progress import track

    length = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.int16)
    starts, ends = torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.int64)
    for place, (row, prompt) in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.int16)
        starts[place], ends[place] = prompt, len(row)
    ids, starts, ends = ids.to(device), starts.to(device), ends.to(device)
    positions = torch.arange(length, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / 200, 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
    )
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in track(range(STEPS), "training"):
        chosen = torch.randint(len(rows), (BATCH,), generator=generator).to(device)
        width = int(ends[chosen].max())
        batch, spans = ids[chosen, :width].long(), positions[:width]
        in_reply = (spans >= starts[chosen, None]) & (spans < ends[chosen, None])
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = model(batch, attention_mask=(spans < ends[chosen, None]).long()).logits
        targets = batch.masked_fill(~in_reply, -100)[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return torch.stack(losses[-100:]).mean().item()


def main() -> None:
    import torch
    from transformers import GenerationConfig, set_seed

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "model")
    output = parser.parse_args().output
    device = "cuda" if torch.cuda.is_available() else "cpu"
    set_seed(SEED)
    started = time.monotonic()
    pairs = documents(DOCUMENTS, SEED)
    tokenizer = make_tokenizer([m["content"] for c, _ in pairs[:20_000] for m in c] + [r for _, r in pairs[:20_000]])
    rows = encode(tokenizer, pairs)
    prepared = time.monotonic()
    model = make_model(tokenizer).to(device)
    loss = train(model, rows, device, SEED)
    # Greedy by default, so that no library samples behind a caller's back.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(output)
    tokenizer.save_pretrained(output)
    weights = (output / "model.safetensors").read_bytes()
    print(
        json.dumps(
            {
                "parameters": sum(p.numel() for p in model.parameters()),
                "loss": round(loss, 4),
                "seconds_prepare": round(prepared - started, 1),
                "seconds_train": round(time.monotonic() - prepared, 1),
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "sha256": hashlib.sha256(weights).hexdigest(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
