"""The trainer unsloth on its CPU backend: in the tox environment of its own, skipped elsewhere."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from conftest import write_jsonl

pytestmark = pytest.mark.skipif(find_spec("unsloth") is None, reason="unsloth is not installed here: tox -e unsloth")

SMALL = ("--limit=4", "--set=steps=3", "--set=save_steps=2", "--set=prompts_per_step=2", "--set=generations=2",
         "--set=eval_every=2", "--set=eval_problems=4", "--trainer=unsloth")  # fmt: skip


# What Unsloth puts in the place of TRL's classes where there is a GPU; its CPU backend leaves them alone.
REWRITTEN = """
import sys, unsloth
from unsloth.models.rl import _patch_trl_rl_trainers
_patch_trl_rl_trainers("grpo_trainer")
import json, pathlib, trl
from harness.configure import configure
from train.arguments import grpo_arguments
assert "Unsloth" in trl.GRPOTrainer.__name__
names = ("scale_rewards", "mask_truncated_completions", "epsilon", "epsilon_high", "use_bias_correction_kl",
         "vllm_importance_sampling_correction", "beta", "loss_type")
for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo"):
    config = configure("tiny", None, {}, [f"loss_type={loss_type}", "rollouts=generate"])
    made = grpo_arguments(config, pathlib.Path("r"), 8, 1, 0, resumes=False)
    print(json.dumps([getattr(made, name) for name in names]), file=sys.stderr)
"""


def test_unsloths_own_configuration_changes_no_figure_of_the_loss(tmp_path):
    environment = os.environ | {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_LOCATION": str(tmp_path / "compiled")}
    done = subprocess.run(
        [sys.executable, "-c", REWRITTEN], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('["')]
    same = ["group", False, 0.2, 0.2, False, False, 0.0]
    assert found == [[*same, loss_type] for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo")]


def test_the_whole_job(program, tmp_path):
    """Warm-up and GRPO with the KL term, measured by a process that Unsloth never touched."""
    done = program(
        "run", "--before-after", *SMALL, "--set", "beta=0.04", "--set", "sft_dataset=word-problems", "--set",
        "sft_epochs=0.002", "--output", "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    effective = json.loads((tmp_path / "r/train/effective_config.json").read_text())
    assert effective["trainer"] == "unsloth"
    assert (effective["arguments"]["beta"], effective["arguments"]["num_generations"]) == (0.04, 2)
    log = [json.loads(line) for line in (tmp_path / "r/train/log.jsonl").open()]
    assert [row["step"] for row in log] == [1, 2, 3]
    assert "kl" in log[0]
    probes = [json.loads(line) for line in (tmp_path / "r/train/probes.jsonl").open()]
    assert [row["step"] for row in probes] == [0, 2, 3]
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["provenance"]["train"]["lora_b_trained"] > 0
    assert record["provenance"]["after"]["adapter_effect"]["difference"] > 0
    # What Unsloth prints and writes stays out of the terminal and of the user's folder.
    assert "Unsloth" not in done.stdout + done.stderr
    assert [entry.name for entry in tmp_path.iterdir() if "unsloth" in entry.name] == []


def test_the_recipe_of_qwen3(program, tmp_path):
    from baselines.peers.random_checkpoint import make_checkpoint

    make_checkpoint(tmp_path / "m", "qwen3", small=True)
    sums = [{"prompt": f"What is {each} plus 1?", "solution": str(each + 1)} for each in range(60)]
    worked = [
        {"problem": f"What is {each} times 7?", "generated_solution": f"{each * 7}", "expected_answer": str(each * 7)}
        for each in range(20)
    ]
    done = program(
        "train", "--model", "m", "--recipe", "qwen3-8b", "--data", write_jsonl(tmp_path / "s.jsonl", sums),
        "--set", f"sft_data={write_jsonl(tmp_path / 'w.jsonl', worked)}", "--set", "sft_epochs=0.2", *SMALL,
        "--set", "max_completion=16", "--output", "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gradient_checkpointing" not in done.stderr
    adapter = json.loads((tmp_path / "r/train/adapter/adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (32, 64)


def test_training_goes_on_from_its_last_checkpoint(program, tmp_path):
    assert program("train", *SMALL, "--output", "r").returncode == 0
    record = json.loads((tmp_path / "r/run.json").read_text())
    record["stages"]["train"]["state"] = "running"
    (tmp_path / "r/run.json").write_text(json.dumps(record))
    import shutil

    shutil.rmtree(tmp_path / "r/train/checkpoints/checkpoint-3")
    done = program("train", *SMALL, "--output", "r")
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (tmp_path / "r/train/log.jsonl").open()]
    assert [row["step"] for row in log] == [1, 2, 3]


def test_a_checkpoint_of_gemmas_layout_trains_like_the_unchanged_one(program, tmp_path):
    from test_turn_ends import trained

    log, rollouts = trained(program, tmp_path / "1", "gemma", "--trainer", "unsloth")
    assert (log, rollouts) == trained(program, tmp_path / "2", "as it is", "--trainer", "unsloth")
    assert log[0]["completions/clipped_ratio"] < 1


def test_its_masks_keep_the_end_and_take_prompts_whole(tmp_path, monkeypatch):
    """By `ids != pad`: with a pad token that ends turns the last of a completion and all ends in a prompt would go."""
    import unsloth  # noqa: F401, I001, its other half wants to find it
    import torch

    monkeypatch.setenv("UNSLOTH_IS_PRESENT", "1")
    from test_turn_ends import END, laid_out, pad_with_an_end
    from unsloth_zoo.rl_replacements import calculate_pad_tokens_in_prompt, create_completion_attention_mask

    from harness.models import chat, loading

    tokenizer = loading.load_tokenizer(pad_with_an_end(laid_out(tmp_path / "m", "gemma")))
    prompt = tokenizer(chat.render(tokenizer, [{"role": "user", "content": "?"}]), add_special_tokens=False)
    pad, reply = tokenizer.pad_token_id, [100, 101, END]
    ids = torch.tensor([[pad, *prompt["input_ids"], *reply, pad]])
    pads = calculate_pad_tokens_in_prompt(ids, len(reply) + 1, pad)
    assert pads.tolist() == [1]
    mask = create_completion_attention_mask(ids[:, -len(reply) - 1 :], pads, 1, pad)
    assert mask.tolist() == [[True, True, True, False]]


# A model that Unsloth loaded and put an adapter on, in a program of its own.
IN_MEMORY = """
import unsloth, torch, harness
model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
    "m", max_seq_length=1024, load_in_4bit=False, dtype=torch.float32, use_exact_model_name=True)
model = unsloth.FastLanguageModel.get_peft_model(model, r=4, target_modules=["q_proj", "v_proj"])
for name, weights in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weights, std=0.3)
model.save_pretrained("a")
model.train()
harness.evaluate(model, tokenizer, dataset="word-problems", limit=5, max_tokens=24, output="here")
assert model.training
"""


def test_a_model_in_memory_gets_the_replies_of_the_command_line(harness, tmp_path):
    from baselines.peers.random_checkpoint import make_checkpoint

    make_checkpoint(tmp_path / "m", "qwen3", small=True)
    environment = os.environ | {"UNSLOTH_COMPILE_LOCATION": str(tmp_path / "compiled"), "UNSLOTH_COMPILE_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", IN_MEMORY], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    done = harness("run", "--model", "m", "--adapter", "a", "--dataset", "word-problems", "--limit", "5",
                   "--set", "max_tokens=24", "--engine", "transformers", "--output", "there")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for side in ("before", "after"):
        here, there = (
            sorted(
                (row["problem_id"], row["text"])
                for row in map(json.loads, (tmp_path / run / side / "completions.jsonl").open())
            )
            for run in ("here", "there")
        )
        assert here == there
