"""A model in memory: harness.evaluate measures what the command line does, and leaves all as it was."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel

import harness as package
from harness.engines import in_memory
from harness.errors import UserError
from harness.models.checkpoints import locate
from harness.storage.run_folder import Run

FOLDER = locate("embedded")
SETTINGS = {"dataset": "word-problems", "limit": 6, "max_tokens": 48, "quiet": True}
OPTIONS = ("--limit", "6", "--set", "max_tokens=48", "--quiet")
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


@pytest.fixture
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


def texts(path, side):
    return {each.place: (each.prompt_sha, each.text) for each in Run.open(Path(path)).completions(side)}


def test_one_model_gets_the_replies_that_the_command_line_gets(model, tokenizer, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("eval", *OPTIONS, "--output", "there")[0] == 0
    run = package.evaluate(model, tokenizer, output="here", **SETTINGS)
    assert texts("here", "before") == texts("there", "before")
    assert [side.name for side in run.sides] == ["before"]
    assert (tmp_path / "here/report/index.html").is_file()
    record = json.loads((tmp_path / "here/run.json").read_text())
    assert record["command"].startswith("harness.evaluate(model, tokenizer, dataset='word-problems', limit=6")
    assert record["provenance"]["before"]["model"] == f"{FOLDER} (in memory: Gemma3ForCausalLM)"
    assert record["provenance"]["before"]["dtype"] == "float32"


def test_an_adapter_on_and_off_is_two_sides(model, tokenizer, adapter, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("run", "--adapter", adapter, *OPTIONS, "--output", "there")[0] == 0
    run = package.evaluate(PeftModel.from_pretrained(model, adapter), tokenizer, output="here", **SETTINGS)
    for side in ("before", "after"):
        assert texts("here", side) == texts("there", side)
    assert texts("here", "before") != texts("here", "after")
    assert list(run.differences["delta"].dropna()) == list(package.load_run("there").differences["delta"].dropna())
    record = json.loads((tmp_path / "here/run.json").read_text())["provenance"]
    assert record["before"]["adapter"] is None
    assert "adapter default (LORA, r 4, lora_alpha" in record["after"]["adapter"]["in memory"]
    assert record["after"]["adapter_effect"]["difference"] > 0
    assert "in memory" in (tmp_path / "here/report/index.html").read_text()


def state_of(model, tokenizer):
    return {
        "training": [each.training for each in model.modules()],
        "gradients": {name: each.requires_grad for name, each in model.named_parameters()},
        "weights": {name: each.clone() for name, each in model.named_parameters()},
        "checkpointing": model.is_gradient_checkpointing,
        "config": model.config.to_dict(),
        "generation": model.generation_config.to_dict(),
        "adapters": [model.active_adapters, model.get_model_status().enabled],
        "tokenizer": [
            tokenizer.padding_side,
            tokenizer.pad_token,
            tokenizer.chat_template,
            len(tokenizer),
        ],
        "random": [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()],
    }


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_left_as_it_was(model, tokenizer, adapter, tmp_path, monkeypatch, fails):
    tokenizer.padding_side, tokenizer.pad_token = "right", tokenizer.eos_token
    lent = PeftModel.from_pretrained(model, adapter)
    lent.config.use_cache = False
    lent.gradient_checkpointing_enable()
    lent.enable_input_require_grads()
    lent.train()
    lent.get_base_model().lm_head.eval()
    before = state_of(lent, tokenizer)
    assert not any(before["gradients"].values())
    if fails:
        monkeypatch.setattr("harness.evaluation.scoring.score_text", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            package.evaluate(lent, tokenizer, output=tmp_path / "r", **SETTINGS)
    else:
        package.evaluate(lent, tokenizer, output=tmp_path / "r", **SETTINGS)
    after = state_of(lent, tokenizer)
    assert all(torch.equal(before["weights"].pop(name), weights) for name, weights in after.pop("weights").items())
    assert before.pop("weights") == {}
    assert after == before


def test_a_second_measurement_keeps_the_first(model, tokenizer, tmp_path):
    package.evaluate(model, tokenizer, output=tmp_path / "r", **SETTINGS)
    first = texts(tmp_path / "r", "before")
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.5)
    package.evaluate(model, tokenizer, output=tmp_path / "r", **SETTINGS)
    (older,) = tmp_path.glob("r.*")
    assert texts(older, "before") == first
    assert texts(tmp_path / "r", "before") != first


MISTAKES = [
    ({"max_new_tokens": 9}, "unknown setting: max_new_tokens is called max_tokens here"),
    ({"lmit": 9}, "unknown setting 'lmit': did you mean 'limit'?"),
    ({"steps": 9}, "unknown setting 'steps'"),
    ({"limit": 0}, "recipe key limit = 0: "),
    ({"format": "thnk"}, "unknown format 'thnk': did you mean 'think'?"),
    ({"dataset": "nothere.csv"}, "--dataset nothere.csv: no such file or folder"),
    ({"rewards": "gema3"}, "unknown reward preset 'gema3': did you mean 'gemma3'?"),
    ({"primary": "tokens"}, "--primary tokens: neither more nor less of it is better"),
    ({"batch_size": 0}, "batch_size=0: give a whole number of at least 1"),
    ({"chat_template": "nothere.jinja"}, "recipe key chat_template: nothere.jinja cannot be read"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES)
def test_mistakes_are_one_line_and_leave_no_folder(model, tokenizer, tmp_path, settings, message):
    with pytest.raises(UserError) as raised:
        package.evaluate(model, tokenizer, output=tmp_path / "r", **SETTINGS | settings)
    assert message in str(raised.value)
    assert raised.value._render_traceback_() == [f"harness: {raised.value}"]
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "r").exists()


def without_template(tokenizer):
    tokenizer.chat_template = None
    return tokenizer


def bert(_):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return BertModel(BertConfig(**sizes))


def too_large(model):
    def fails(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    model.lm_head.register_forward_pre_hook(fails)
    return model


OTHERS = [
    (too_large, None, "a batch of 6 does not fit into memory .cpu.: give a lower batch_size"),
    (bert, None, "BertModel: does not generate text"),
    (lambda model: get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)), None,
     "learns prompt tokens: give a LoRA adapter"),
    (lambda model: get_peft_model(model, LoraConfig(**LORA)), None, "changes nothing that .* says: is it trained"),
    (lambda model: model.to("meta"), None, "the model is on the device meta: move it"),
    (None, without_template, "no chat template beside its tokenizer"),
    (None, lambda _: len, "is no tokenizer with a chat template"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "other", "message"), OTHERS)
def test_what_cannot_be_measured_is_one_line(model, tokenizer, tmp_path, changed, other, message):
    model, tokenizer = changed(model) if changed else model, other(tokenizer) if other else tokenizer
    with pytest.raises(UserError, match=message):
        package.evaluate(model, tokenizer, output=tmp_path / "r", **SETTINGS)
    assert not (tmp_path / "r").exists()


def test_unsloths_way_generates_the_same(model, tokenizer, adapter, tmp_path, monkeypatch):
    """Its kernels need a GPU; here transformers' own `generate` draws the tokens of the loop that it stands in for."""
    lent = PeftModel.from_pretrained(model, adapter)
    package.evaluate(lent, tokenizer, output=tmp_path / "loop", **SETTINGS)
    settings = lent.generation_config.to_dict()
    monkeypatch.setattr(type(model).forward, "__module__", "unsloth.models.gemma3")
    assert in_memory.has_unsloths_kernels(lent)
    package.evaluate(lent, tokenizer, output=tmp_path / "generate", **SETTINGS)
    for side in ("before", "after"):
        assert texts(tmp_path / "generate", side) == texts(tmp_path / "loop", side)
    assert lent.generation_config.to_dict() == settings
