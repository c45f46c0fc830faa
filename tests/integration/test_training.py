"""The training stage: what it learns from, what it says of itself, what stops it and how it goes on."""

import json
import resource
import shutil
import subprocess
import sys

import pytest
from conftest import SMALL, configuration, write_jsonl

from harness.cli.run_checks import check_names
from harness.errors import UserError
from train import arguments, backends, stage
from train.rollouts import Rollouts, own_functions


def test_a_run_whose_every_completion_is_cut_off_is_called_out(harness, tmp_path):
    done = harness("run", "--before-after", *SMALL, "--set", "max_completion=3", "--output", "r")
    assert done.returncode == 0, done.stderr
    said = "nearly every completion was cut off at 3 tokens"
    assert said in done.stderr
    page = (tmp_path / "r/report/index.html").read_text()
    assert said in page.split("</header>")[0]
    assert said in (tmp_path / "r/report/report.md").read_text()


def constant(values):
    def mine(completions, **_):
        return values

    return mine


BAD_REWARDS = [
    ([1.0], "reward mine returned 1 values for 2 completions"),
    ([1.0, float("nan")], "reward mine returned nan"),
    ([1.0, float("inf")], "returned inf"),
    ([1.0, "2"], "returned '2'"),
]


@pytest.mark.parametrize(("values", "message"), BAD_REWARDS)
def test_rewards_that_return_no_numbers_are_named(tmp_path, values, message):
    rollouts = Rollouts(tmp_path / "r.jsonl", 0, [constant(values)], 2, keeps=True, correct=constant([1.0]))
    with pytest.raises(UserError, match=message):
        rollouts.functions[0](prompts=[], completions=["a", "b"], answer=["1", "2"], trainer_state=None)


def test_held_out_problems_are_kept_by_their_number(tmp_path):
    """A sampler shuffles them; a second probe starts anew."""
    right = {"a": 1.0, "b": 0.0, "c": None}

    def correct(completions, **_):
        return [right[each] for each in completions]

    rollouts = Rollouts(tmp_path / "r.jsonl", 0, [constant([1.0, 1.0])], 2, keeps=True, correct=correct)
    for completions, numbers in ((["c", "a"], [2, 0]), (["b", "b"], [1, 3])):
        rollouts.functions[0]([], completions, ["1", "1"], None, held_out=numbers)
    assert rollouts.take_probe() == [1.0, 0.0, None, 0.0]
    assert rollouts.take_probe() == []
    assert (tmp_path / "r.jsonl").read_text() == ""


def test_a_users_own_rewards_train_and_measure(harness, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def short(completions, **_):\n    return [-float(len(each[0]['content'])) for each in completions]\n"
    )
    done = harness("run", "--before-after", *SMALL, "--set", "rewards=mine.py", "--output", "r")
    assert done.returncode == 0, done.stderr
    assert "reward/short" in json.loads((tmp_path / "r/after/metrics.json").read_text())
    rollout = json.loads((tmp_path / "r/train/rollouts.jsonl").read_text().split("\n")[0])
    assert rollout["rewards"] == {"short": -len(rollout["text"])}
    refused = harness("score", "r")
    assert refused.returncode == 2
    assert "its rewards are Python code in" in refused.stderr
    assert harness("score", "r", "--rewards", "mine.py").returncode == 0


def test_a_reward_that_raises_ends_in_one_line(harness, tmp_path):
    (tmp_path / "mine.py").write_text("def broken(completions, **_):\n    return [1 / 0]\n")
    done = harness("train", *SMALL, "--set", "rewards=mine.py", "--output", "r")
    assert done.returncode == 2
    assert "harness: reward broken raised ZeroDivisionError: division by zero: fix the function" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "message"),
    [("total = [1.0]", "'NoneType' object is not iterable"), ("yield completions[7]", "list index out of range")],
)
def test_a_reward_that_returns_nothing_or_raises_late_is_named(tmp_path, body, message):
    (tmp_path / "mine.py").write_text(f"def mine(completions, **_):\n    {body}\n")
    (mine,) = own_functions(tmp_path / "mine.py", "")
    with pytest.raises(UserError, match=f"reward mine raised .*{message}: fix the function"):
        mine(completions=["a", "b"])


@pytest.mark.parametrize(("probes", "expected"), [(16, 8), (15, 5), (7, 7), (17, 1)])
def test_probes_take_no_larger_batches_than_training_and_all_alike(tmp_path, probes, expected):
    config = configuration("eval_every=1", "prompts_per_step=2", "generations=4")
    made = arguments.grpo_arguments(config, tmp_path, 8, 1, probes, resumes=False)
    assert (made.per_device_train_batch_size, made.per_device_eval_batch_size) == (8, expected)


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_the_loss_is_the_tutorials_unless_it_is_set(tmp_path, loss_type):
    """What libraries have changed their defaults of since, whatever the loss."""
    theirs = {"scale_rewards": "group", "mask_truncated_completions": False, "epsilon": 0.2, "epsilon_high": 0.2,
              "use_bias_correction_kl": False, "vllm_importance_sampling_correction": False}  # fmt: skip
    made = arguments.grpo_arguments(configuration(f"loss_type={loss_type}"), tmp_path, 8, 1, 0, resumes=False)
    assert {name: getattr(made, name) for name in theirs} == theirs
    settings = ("scale_rewards=none", "mask_truncated_completions=true", "epsilon=0.1", "epsilon_high=0.28",
                "kl_bias_correction=true", "importance_correction=true", "rollouts=vllm")  # fmt: skip
    config = configuration(f"loss_type={loss_type}", *settings)
    made = arguments.grpo_arguments(config, tmp_path, 8, 1, 0, resumes=False)
    assert [getattr(made, name) for name in theirs] == ["none", True, 0.1, 0.28, True, True]


@pytest.mark.parametrize("truncated", ["rollout_min_p=0.1", "rollout_top_p=0.9", "rollout_top_k=50"])
def test_the_importance_correction_is_not_for_truncated_rollouts(truncated):
    check_names(configuration("importance_correction=true"))
    with pytest.raises(UserError, match="its ratio shrinks with every token"):
        check_names(configuration("importance_correction=true", truncated))


def test_what_corrects_nothing_here_is_replaced():
    config, replaced = backends.fitted(configuration("importance_correction=true", "rollouts=generate"), "trl")
    assert not config.importance_correction
    assert replaced == {"importance_correction": "True -> False: it is for vLLM's rollouts"}


def test_a_warm_up_that_has_ended_is_not_trained_on(harness, tmp_path):
    """Killed between its last step and its adapter; TRL would take another step where the epochs are no whole ones."""
    command = ("train", *SMALL, "--set=steps=1", "--set=sft_dataset=word-problems", "--set=sft_epochs=0.004",
               "--set=learning_rate=1e-7", "--set=warmup=0", "--output", "r")  # fmt: skip
    assert harness(*command).returncode == 0
    warm_up, record = tmp_path / "r/train/sft", json.loads((tmp_path / "r/run.json").read_text())
    log, weights = ((warm_up / name).read_bytes() for name in ("log.jsonl", "adapter/adapter_model.safetensors"))
    record["stages"] |= {name: {"state": "running", "seconds": 1.0} for name in ("warm-up", "train")}
    (tmp_path / "r/run.json").write_text(json.dumps(record))
    shutil.rmtree(warm_up / "adapter")
    done = harness(*command)
    assert done.returncode == 0, done.stderr
    assert (warm_up / "log.jsonl").read_bytes() == log
    assert (warm_up / "adapter/adapter_model.safetensors").read_bytes() == weights


def test_a_checkpoint_cut_short_is_not_gone_on_from(job, tmp_path):
    whole = '{"global_step": 2, "max_steps": 4}'
    for step, state in ((1, whole), (2, whole), (3, '{"half'), (7, "{}"), (8, "[]")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-4").mkdir()
    for step in (5, 6):
        shutil.copytree(job / "train/checkpoints/checkpoint-2", tmp_path / f"checkpoint-{step}")
    weights, optimizer = tmp_path / "checkpoint-5/adapter_model.safetensors", tmp_path / "checkpoint-6/optimizer.pt"
    assert stage.last_checkpoint(tmp_path).name == "checkpoint-6"
    for file in (weights, optimizer):
        file.write_bytes(file.read_bytes()[:-100])
    assert stage.last_checkpoint(tmp_path).name == "checkpoint-2"
    assert stage.last_checkpoint(tmp_path / "none") is None


def test_a_full_disk_ends_in_one_line(tmp_path):
    """The system takes no file over 200 kB: the first checkpoint is larger."""
    done = subprocess.run(
        [f"{sys.prefix}/bin/harness", "train", *SMALL, "--output", "r"], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "harness: the disk is full: make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "r/run.json").read_text())["stages"]["train"]["state"] == "stopped"


def test_grpo_goes_on_with_what_sft_has_trained(harness, tmp_path):
    """With next to no learning rate GRPO ends where SFT has: a fresh adapter would be far away."""
    from safetensors.numpy import load_file

    done = harness("train", *SMALL, "--set=steps=1", "--set=sft_dataset=word-problems", "--set=sft_epochs=0.004",
                   "--set=learning_rate=1e-7", "--set=warmup=0", "--output", "r")  # fmt: skip
    assert done.returncode == 0, done.stderr
    warmed, trained = (
        load_file(tmp_path / "r/train" / name / "adapter_model.safetensors") for name in ("sft/adapter", "adapter")
    )
    assert all(abs(warmed[name] - trained[name]).max() < 1e-6 for name in warmed)
    assert any((warmed[name] != trained[name]).any() for name in warmed)
    assert max(abs(tensor).max() for name, tensor in warmed.items() if "lora_B" in name) > 1e-4


def test_an_adapter_that_lost_weights_does_not_load_back(tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    from harness.models.checkpoints import locate
    from harness.models.loading import load_tokenizer
    from train import lora

    base = AutoModelForCausalLM.from_pretrained(locate("embedded"))
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path)
    assert lora.logit_difference(model, tmp_path, load_tokenizer("embedded"), "What is 2 + 2?") > 0
    lora.check_targets(model, ["q_proj"])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="does not load back"):
        lora.logit_difference(model, tmp_path, load_tokenizer("embedded"), "What is 2 + 2?")


def test_prompts_over_the_quantile_are_left_out_and_counted():
    from harness.models.loading import load_tokenizer
    from harness.types import Dataset, Problem
    from train.rows import prompts_of

    questions = [f"{'Why? ' * length}{length}" for length in range(1, 101)]
    problems = tuple(Problem(str(place), question, "1") for place, question in enumerate(questions))
    config = configuration("eval_every=1", "eval_problems=5", recipe="deepseek-r1-qwen3-8b")
    prompts = prompts_of(config, Dataset("d", "train", problems, "number"), load_tokenizer("embedded"))
    assert prompts.too_long == 10
    assert len(prompts.rows) + len(prompts.held_out) == 90
    assert 3 <= len(prompts.held_out) <= 5
    assert prompts.max_prompt + 1 + prompts.max_completion == 1024
    one = configuration("eval_every=1", "eval_problems=1", "prompt_quantile=0.05", recipe="deepseek-r1-qwen3-8b")
    with pytest.raises(UserError, match="none of the 1 eval_problems fits into max_prompt"):
        prompts_of(one, Dataset("d", "train", problems, "number"), load_tokenizer("embedded"))


@pytest.mark.parametrize("format", ["think", "xml"])
def test_the_embedded_model_trains_in_every_format(harness, tmp_path, format):
    done = harness("train", *SMALL, "--set=steps=2", "--set=eval_every=0", "--format", format, "--output", "r")
    assert done.returncode == 0, done.stderr


MISTAKES = [
    (["--set", "launcher=nothere -n 2"], "launcher = nothere: no such program"),
    (["--set", "launcher=torchrun 'x"], "launcher = torchrun 'x: No closing quotation: fix its quotes"),
    (["--set", "launcher=torchrun", "--trainer", "unsloth"], "trainer unsloth trains on one GPU"),
    (["--set", "accumulation=3"], "accumulation = 3 does not divide the 32 completions"),
    (["--set", "max_prompt=900", "--set", "max_completion=900"], "do not fit into max_sequence = 1024"),
    (["--set", "lora_rank=1024"], "lora_rank = 1024: vLLM takes at most 512"),
    (["--set", "sft_dataset=openmath"], "unknown sft_dataset 'openmath': did you mean 'openmath-mini'"),
    (["--set", "prompts_per_step=4000"], "3000 training problems, a step needs 4000"),
    (["--set", "max_prompt=3"], "0 of 3000 training prompts are left"),
    (["--set", "rewards=nothere.py"], "no such file"),
    (["--set", "lora_targets=['nothere']"], "the recipe does not fit the model: .*nothere"),
    (["--set", "lora_targets=['q_proj', 'nothere']"], "lora_targets = q_proj, nothere: .* are q_proj: fix"),
    (["--set", "max_prompt=250", "--set", "max_completion=10", "--set", "max_sequence=255"], "do not fit into"),
    (
        ["--set", "rollouts=server", "--set", "rollout_server=http://127.0.0.1:9"],
        "rollouts = server needs vLLM here too",
    ),
    (
        ["--set", "rollouts=server", "--set", "rollout_server=http://me:key@127.0.0.1:9"],
        "rollout_server: a key is not allowed in an address",
    ),
    (["--set", "sft_dataset=dapo", "--set", "sft_data=nothere.jsonl"], "sft_dataset = dapo: sft_data .*no such file"),
    (["--set", "tracker=trackio"], "tracker 'trackio' needs trackio: pip install 'grpo-harness.trackio.'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(harness, arguments, message):
    import re

    done = harness("train", "--output", "r", *arguments)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


def test_a_large_model_without_a_gpu_is_refused(harness, tmp_path):
    from baselines.peers.random_checkpoint import QWEN3, make_checkpoint

    make_checkpoint(tmp_path / "m", "qwen3", small=True)
    settings = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps(settings | QWEN3))
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": f"{each}?", "answer": str(each)} for each in range(40)])
    done = harness("train", "--model", "m", "--recipe", "qwen3-8b", "--skip-sft", "--dataset", data)
    assert done.returncode == 2
    assert "m: 7.6 billion parameters need a GPU, PyTorch finds none" in done.stderr
