"""Plain TRL on a CPU: rollouts by our own loop, and prompts that are read once for all their completions."""

import pytest
import torch
from conftest import configuration
from datasets import Dataset
from peft import LoraConfig
from test_decoding import MODELS, SHAPE, batch
from transformers import AutoConfig, AutoModelForCausalLM

from harness.data import datasets
from harness.models import loading
from harness.parsing import formats
from train import arguments
from train.cpu_rollouts import CpuGrpoTrainer
from train.grpo_trainer import ForwardWithAdapter, GrpoTrainer
from train.shared_prompts import SharedPrompts

LIMIT = 48


def trainer_of(kind, folder, *settings):
    """A trainer of the embedded model with an adapter that changes it, and the prompts of one step."""
    config = configuration("prompts_per_step=2", "generations=4", "eval_every=0", "rollouts=generate", *settings)
    tokenizer = loading.load_tokenizer("embedded")
    questions = [problem.question for problem in datasets.training_problems(config)[0].problems[:8]]

    def none(completions, **_):
        return [0.0] * len(completions)

    torch.manual_seed(0)
    trainer = kind(
        ends=loading.end_tokens("embedded", tokenizer),
        model=loading.load_model("embedded", False, dtype=torch.float32),
        peft_config=LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj", "v_proj", "down_proj"]),
        reward_funcs=[none],
        args=arguments.grpo_arguments(config, folder, LIMIT, 1, 0, resumes=False),
        train_dataset=Dataset.from_list([{"prompt": formats.messages(question, None)} for question in questions]),
        processing_class=tokenizer,
    )
    trainer.model.train()
    torch.manual_seed(1)
    for name, weights in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.05)
    prompts = [row["prompt"] for row in next(iter(trainer.get_train_dataloader()))]
    return trainer, trainer._tokenize_prompts(prompts)[0]


def rollouts(trainer, prompts, seed=1):
    torch.manual_seed(seed)
    return trainer._generate_single_turn(prompts, None, {})[0]


def test_a_trainer_has_the_callback_that_passes_forward_first(tmp_path):
    trainer, _ = trainer_of(GrpoTrainer, tmp_path)
    assert any(isinstance(each, ForwardWithAdapter) for each in trainer.callback_handler.callbacks)


def test_the_likeliest_tokens_are_those_of_model_generate_and_the_model_is_as_before(tmp_path):
    trainer, prompts = trainer_of(CpuGrpoTrainer, tmp_path, "rollout_top_k=1")
    kept = {name: (id(value), value.clone()) for name, value in trainer.model.named_parameters()}
    tokens = rollouts(trainer, prompts)
    for name, value in trainer.model.named_parameters():
        assert id(value) == kept[name][0]
        assert torch.equal(value, kept[name][1])
    assert all(module.training for module in trainer.model.modules())
    inputs = trainer._tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    model, ends = trainer.model.eval(), sorted(trainer.ends)

    def generated():
        output = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False, eos_token_id=ends)
        return [
            row[: next((place + 1 for place, token in enumerate(row) if token in ends), LIMIT)]
            for row in output[:, inputs["input_ids"].shape[1] :].tolist()
        ]

    assert tokens == generated()
    with model.disable_adapter():
        assert tokens != generated()


@pytest.mark.parametrize("settings", [(), ("rollout_temperature=0.7", "rollout_top_p=0.9", "rollout_min_p=0.01")])
def test_one_seed_gives_the_same_rollouts_and_another_seed_others(tmp_path, settings):
    trainer, prompts = trainer_of(CpuGrpoTrainer, tmp_path, *settings)
    tokens = rollouts(trainer, prompts)
    assert tokens == rollouts(trainer, prompts)
    assert tokens != rollouts(trainer, prompts, seed=2)
    assert len({tuple(row) for row in tokens}) > len({tuple(row) for row in prompts})
    assert all(len(row) <= LIMIT and not trainer.ends & set(row[:-1]) for row in tokens)


def test_a_rollout_that_fails_leaves_the_model_as_before(tmp_path, monkeypatch):
    trainer, prompts = trainer_of(CpuGrpoTrainer, tmp_path)
    kept = {name: (id(value), value.clone()) for name, value in trainer.model.named_parameters()}
    monkeypatch.setattr(trainer, "temperature", "hot")
    with pytest.raises(TypeError):
        rollouts(trainer, prompts)
    for name, value in trainer.model.named_parameters():
        assert id(value) == kept[name][0]
        assert torch.equal(value, kept[name][1])
    monkeypatch.undo()
    assert rollouts(trainer, prompts) == rollouts(*trainer_of(CpuGrpoTrainer, tmp_path))


def gradients_of(kind, folder, tokens):
    """The loss's value and gradients of given completions, half of them with an advantage."""
    trainer, prompts = trainer_of(kind, folder)
    trainer.model.eval()  # without dropout
    prompt, completion = (
        trainer._tokenizer.pad({"input_ids": rows}, padding_side=side, return_tensors="pt")
        for rows, side in ((prompts, "left"), (tokens, "right"))
    )
    inputs = {
        "prompt_ids": prompt["input_ids"],
        "prompt_mask": prompt["attention_mask"],
        "completion_ids": completion["input_ids"],
        "completion_mask": completion["attention_mask"],
        "advantages": torch.tensor([1.0, -0.5] * (len(tokens) // 2)),
        "num_items_in_batch": completion["attention_mask"].sum(),
    }
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss, {name: weights.grad for name, weights in trainer.model.named_parameters() if weights.requires_grad}


def test_the_loss_and_its_gradients_are_trls_own(tmp_path):
    tokens = rollouts(*trainer_of(CpuGrpoTrainer, tmp_path))
    (expected, expected_gradients), (loss, gradients) = (
        gradients_of(kind, tmp_path, tokens) for kind in (GrpoTrainer, CpuGrpoTrainer)
    )
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    largest = max(values.abs().max() for values in expected_gradients.values())
    assert largest > 1e-4
    for name, values in expected_gradients.items():
        torch.testing.assert_close(gradients[name], values, atol=1e-5 * float(largest), rtol=1e-3)


@pytest.mark.parametrize(("kind", "values"), [model[:2] for model in MODELS], ids=[kind for kind, *_ in MODELS])
def test_a_shared_prompt_changes_no_logit_and_no_gradient(kind, values):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE | values)).train()
    given = []
    model.register_forward_pre_hook(lambda _, args, inputs: given.append(inputs["input_ids"].numel()), with_kwargs=True)
    prompts, masks = (each[[1, 0, 0, 1, 1, 2]] for each in batch([9, 4, 12]))
    ids = torch.cat([prompts, torch.randint(1, 64, (6, 10))], dim=1)
    mask = torch.cat([masks, (torch.arange(10) < torch.tensor([[10], [3], [7], [1], [10], [5]])).long()], dim=1)
    results = []
    for shares in (False, True):
        called = SharedPrompts(model) if shares else model
        output = called(input_ids=ids, attention_mask=mask, logits_to_keep=11, use_cache=False).logits
        logits = output[:, :-1] * mask[:, -10:, None]
        model.zero_grad()
        logits.tanh().square().sum().backward()
        results.append((logits.detach(), [weights.grad.clone() for weights in model.parameters()]))
    (expected, gradients), (found, found_gradients) = results
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found_gradients, gradients, atol=1e-4, rtol=1e-3)
    is_read_once = kind not in ("olmo2", "qwen3_5_text", "mamba")
    assert given == [ids.numel(), *([3 * 12, 6 * 10] if is_read_once else [ids.numel()])]


def test_gradients_through_a_shared_prompt_are_the_same_each_time():
    """Where threads add up what the rows of one prompt send back, whoever comes first decides the last bits."""
    torch.manual_seed(0)
    kind, values, _ = MODELS[0]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE | values | {"vocab_size": 8192}))
    ids = torch.cat([torch.randint(1, 64, (1, 5)).expand(16, 5), torch.randint(1, 64, (16, 2))], dim=1)
    weights = torch.randn(16, 3, 8192)
    gradients = []
    for _ in range(30):
        model.zero_grad()
        output = SharedPrompts(model)(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=3)
        (output.logits * weights).sum().backward()
        gradients.append(torch.cat([each.grad.flatten() for each in model.parameters()]))
    assert all(each.equal(gradients[0]) for each in gradients)
