"""How fast a CPU decodes, in FLOPs per second and core: the rate by which `harness plan` estimates a CPU's seconds.

    python -m baselines.peers.cpu_decoding

A Qwen 3 of 0.6 billion random parameters in float32 decodes 64 replies at a time; a token takes two FLOPs a parameter.
The best of five steps counts, so smaller batches, smaller models and busy machines are slower.
"""

import os
import time

BATCH, STEPS = 64, 5


def main() -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8,
        head_dim=128, vocab_size=151_936, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    parameters = sum(each.numel() for each in model.parameters())
    seconds = []
    with torch.inference_mode():
        tokens = torch.randint(config.vocab_size, (BATCH, 32))
        cache = model(tokens, use_cache=True).past_key_values
        for _ in range(STEPS):
            started = time.monotonic()
            model(tokens[:, :1], past_key_values=cache, use_cache=True)
            seconds.append(time.monotonic() - started)
    rate = 2 * parameters * BATCH / min(seconds) / os.cpu_count()
    print(
        f"{parameters / 1e9:.2f} billion parameters: {min(seconds):.2f} s per step, {rate / 1e9:.0f} GFLOP/s per core"
    )


if __name__ == "__main__":
    main()
