"""Trainings beside others and in several processes: ports, GPUs, torchrun and FSDP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest
import trl
from conftest import SMALL, configuration
from proc import looks_into_proc, parent_of, wait_until_gone

from harness.errors import UserError
from train import arguments, stage

TOGETHER = "launcher=torchrun --nproc-per-node 2"
# A process of the training: the first takes its time to write the adapter; each says when it did what.
SLOW_TO_WRITE = """
import atexit, os, sys, time
from pathlib import Path
from transformers import Trainer
from harness.cli.stage import main

write, rank = Trainer.save_model, os.environ["RANK"]

def now(what):
    Path(f"{what}-{rank}").write_text(str(time.time()))

def slow(trainer, *folder, **options):
    write(trainer, *folder, **options)
    if rank == "0" and not options:
        time.sleep(3)
        now("written")

Trainer.save_model = slow
atexit.register(now, "left")
main(sys.argv[3:])
"""
# A reward that waits for ever, as a process that waits for others on a GPU does: no signal reaches Python.
STUCK = """
import os, signal, time
from pathlib import Path

def stuck(completions, **_):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    Path(os.environ["PIDS"], str(os.getpid())).touch()
    time.sleep(600)
"""
# A model that FSDP 2 shares out as a whole among one process and that computes in bfloat16: a pass without the adapter,
# a merge as TRL's for vLLM, and a training step.
SHARED_OUT = """
import sys
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments
from train.frozen import restore_after_merges
from train.grpo_trainer import ForwardWithAdapter

def base_weight(model):
    return next(each.clone() for name, each in model.state_dict().items() if "base_layer" in name)

torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
sizes = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
lora = LoraConfig(r=1, target_modules=["q_proj"], init_lora_weights=False)
model = get_peft_model(LlamaForCausalLM(LlamaConfig(**sizes)).bfloat16(), lora)
before = base_weight(model)
mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
fully_shard(model, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
if sys.argv[2] == "first":
    ForwardWithAdapter().on_train_begin(TrainingArguments(use_cpu=True), None, None, model=model)
tokens = torch.zeros(1, 4, dtype=torch.long)
with torch.no_grad(), model.disable_adapter():
    model(tokens)
restore_after_merges(model)
model.merge_adapter()
assert not before.equal(base_weight(model).full_tensor()), "the merge is lost"
model.unmerge_adapter()
assert before.equal(base_weight(model).full_tensor()), "the merge is not undone"
model(tokens, labels=tokens).loss.backward()
gradients = {str(each.grad.dtype) for each in model.parameters() if each.grad is not None}
print(*gradients)
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("given", "free"), [({}, True), ({"MASTER_PORT": "1234"}, False), ({"WORLD_SIZE": "2"}, False)]
)
def test_a_training_takes_a_free_port_unless_it_is_told_which(given, free, tmp_path, monkeypatch):
    """torch's default is one and the same port: the second of two trainings on a machine ended there."""
    for name in ("MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    stage._set_environment(tmp_path)
    port = os.environ.get("MASTER_PORT")
    assert port == given.get("MASTER_PORT", port if free else None)
    if free:
        with socket.socket() as server:
            server.bind(("127.0.0.1", int(port)))


def test_a_second_gpu_does_not_double_a_batch(tmp_path, monkeypatch):
    """transformers would share out a batch for each visible GPU, unasked."""
    made = trl.GRPOConfig.__post_init__

    def with_two_gpus(config):
        made(config)
        config._n_gpu = 2

    monkeypatch.setattr(trl.GRPOConfig, "__post_init__", with_two_gpus)
    assert arguments.grpo_arguments(configuration(), tmp_path, 8, 1, 0, resumes=False).n_gpu == 1


@pytest.mark.parametrize(("rollouts", "version", "refused"), [("generate", "2", True), ("generate", "1", False),
                                                              ("vllm", "2", False)])  # fmt: skip
def test_what_fsdp_cannot_do_is_refused_before_a_weight_is_loaded(tmp_path, monkeypatch, rollouts, version, refused):
    """As `accelerate launch` tells its processes; TRL's own error comes with the first completion."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", version)
    config = configuration(f"rollouts={rollouts}")
    with pytest.raises(UserError, match="give rollouts = vllm or server") if refused else nullcontext():
        arguments.grpo_arguments(config, tmp_path, 8, 1, 0, resumes=False)


def test_fsdp_checkpoints_are_whole(tmp_path, monkeypatch):
    """Of sharded ones neither a killed training's last step nor its adapter could be written."""
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT")
    stage._set_environment(tmp_path)
    assert os.environ["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"


@pytest.mark.parametrize(("before", "works"), [("first", True), ("", False)])
def test_fsdp_learns_what_is_trained_from_a_pass_with_the_adapter(before, works, tmp_path):
    """On GPUs a fresh adapter's first step ended with a gradient in bfloat16 that its float32 weights refuse.

    A merge behind a pass without a backward one was lost (vLLM would have generated with the base alone).
    """
    program = [sys.executable, "-c", SHARED_OUT, str(tmp_path / "meet"), before]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) is works, done.stderr
    assert done.stdout == "torch.float32\n" if works else "RuntimeError" in done.stderr.splitlines()[-1]


def test_two_processes_train_together(harness, tmp_path):
    done = harness("train", *SMALL, "--set", TOGETHER, "--output", "r")
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (tmp_path / "r/train/log.jsonl").open()]
    assert [row["step"] for row in log] == [1, 2, 3, 4]
    # Two of a step's four completions each; what both count is the recipe's batch.
    effective = json.loads((tmp_path / "r/train/effective_config.json").read_text())["arguments"]
    assert effective["per_device_train_batch_size"] == 2
    assert (tmp_path / "r/train/adapter/adapter_model.safetensors").is_file()


def test_a_batch_that_two_processes_cannot_share_is_refused(harness):
    done = harness("train", "--set", TOGETHER, "--set", "prompts_per_step=1", "--set", "generations=3", "--output", "r")
    assert done.returncode == 2
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("harness: ")
    assert "cannot share the 3 completions of a batch: change prompts_per_step or generations" in last


def test_none_leaves_before_the_adapter_is_written(harness, tmp_path):
    """On GPUs the first then waited for ever for what the other was to send it (seen with FSDP 2)."""
    (tmp_path / "slow.py").write_text(SLOW_TO_WRITE)
    done = harness("train", *SMALL, "--set", f"{TOGETHER} {tmp_path / 'slow.py'}", "--output", "r")
    assert done.returncode == 0, done.stderr
    written, left = (float((tmp_path / name).read_text()) for name in ("written-0", "left-1"))
    assert written < left


@looks_into_proc
@pytest.mark.parametrize("who", ["command", "launcher"])
def test_none_stays_behind_on_the_gpus(tmp_path, monkeypatch, who):
    """One that hears no signal outlived its launcher, and with it the memory of its GPU was taken."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    (tmp_path / "pids").mkdir()
    (tmp_path / "stuck.py").write_text(STUCK)
    words = ["train", *SMALL, "--set", TOGETHER, "--set", "rewards=stuck.py", "--output", "r"]
    said = tmp_path / "said"
    with said.open("w") as file, subprocess.Popen([sys.executable, "-m", "harness", *words], stderr=file) as command:
        while len(pids := [int(path.name) for path in (tmp_path / "pids").iterdir()]) < 2:
            time.sleep(0.1)
            assert command.poll() is None
        if who == "command":
            command.terminate()
        else:
            os.kill(parent_of(pids[0]), signal.SIGKILL)
    assert command.returncode == (130 if who == "command" else 2)
    assert said.read_text().rstrip().endswith("the same command continues from what is done")
    wait_until_gone(pids, b"harness.cli.stage", 2)
