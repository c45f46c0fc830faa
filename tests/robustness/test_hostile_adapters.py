"""Adapters that somebody else made: expressions without end, and kinds that change the base, end in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import save_adapter
from fuzzing import ends_in_order
from peft import KasaConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from harness import bounds
from harness.engines import Setup
from harness.engines.in_memory import refuse_other_models
from harness.engines.transformers import TransformersEngine, with_adapter
from harness.errors import UserError
from harness.models import adapters, checkpoints
from train.export import Export, write

# For a name of a layer it takes as many steps as there are subsets of its letters.
ENDLESS = r"(([a-z_.0-9]+)+)+!"
BASE = checkpoints.locate("embedded")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("plain") / "adapter")


def with_settings(plain: Path, folder: Path, settings: dict) -> str:
    shutil.copytree(plain, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return str(folder)


def base() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)


def trained(folder: Path, **kind) -> tuple[str, PeftModel]:
    """An adapter of one of PEFT's kinds, what is trained of it moved a little, and the model that it was trained on."""
    torch.manual_seed(0)
    settings = {"r": 4, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]} | kind
    model = get_peft_model(base(), LoraConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return str(folder), model


@pytest.mark.parametrize("expression", ["(", ENDLESS, "(" * 10_000], ids=["none", "endless", "deep"])
@pytest.mark.parametrize(
    "place",
    [
        lambda each: {"target_modules": each},
        lambda each: {"exclude_modules": each},
        lambda each: {"modules_to_save": [each]},
        lambda each: {"layers_pattern": [each], "layers_to_transform": [0, 1, 2, 3]},
        lambda each: {"rank_pattern": {each: 4}},
        lambda each: {"alpha_pattern": {each: 4}},
    ],
    ids=["target_modules", "exclude_modules", "modules_to_save", "layers_pattern", "rank_pattern", "alpha_pattern"],
)
def test_an_expression_that_is_none_or_never_ends_is_one_line(plain, tmp_path, monkeypatch, place, expression):
    monkeypatch.setattr(bounds, "SECONDS", 0.5)
    adapter = with_settings(plain, tmp_path / "adapter", place(expression))
    for check in (
        lambda: adapters.check(adapter, "embedded"),
        lambda: adapters.check(adapter, "somebody/elses"),
        lambda: adapters.check_expressions(adapter, ["model", "model.and.a.longer.name.layers.0.mlp.q_proj"]),
    ):
        assert ends_in_order(check) == 2


def test_the_engine_matches_expressions_in_bounded_time_before_peft_does(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "SECONDS", 0.5)
    adapter = with_settings(plain, tmp_path / "adapter", {"alpha_pattern": {ENDLESS: 4}})
    with pytest.raises(UserError, match=r"a pattern in its adapter_config.json is not valid .takes longer than 0.5 s"):
        with_adapter(base(), adapter)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa changes the base's own weights .* merge it"),
        ({"init_lora_weights": "OLoRA"}, "init_lora_weights = olora changes the base's own weights .* merge it"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights = loftq changes the base's own weights .* merge it"),
        ({"kasa_config": {"beta": 1e-4}}, "kasa_config changes the base's own weights .* merge it"),
        ({"init_lora_weights": "pissa_niter_4"}, "= pissa_niter_4 changed the base .* save it as a plain LoRA"),
        ({"init_lora_weights": "corda"}, "= corda changed the base .* save it as a plain LoRA"),
        ({"init_lora_weights": "lora_ga"}, "= lora_ga changed the base .* save it as a plain LoRA"),
        ({"init_lora_weights": ["pissa"]}, "changed the base .* save it as a plain LoRA"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication repeats layers of the base"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens acts behind certain tokens alone"),
        ({"arrow_config": {"top_k": 2}}, "arrow_config mixes several adapters"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config is for Megatron's layers"),
    ],
)
def test_a_kind_that_changes_the_base_or_is_not_applied_is_one_line(plain, tmp_path, command, settings, message):
    adapter = with_settings(plain, tmp_path / "adapter", settings)
    with pytest.raises(UserError, match=message):
        adapters.check(adapter, "embedded")
    code, said = command("run", "--model", "embedded", "--recipe", "tiny", "--adapter", adapter, "--output", tmp_path)
    assert (code, said.count("\n")) == (2, 1)


@pytest.mark.parametrize("began", [True, False, "gaussian", "orthogonal", "eva", "mica"])
def test_ways_to_begin_that_leave_the_base_alone_are_measured(plain, tmp_path, began):
    adapter = with_settings(plain, tmp_path / "adapter", {"init_lora_weights": began})
    adapters.check(adapter, "embedded")
    TransformersEngine(Setup("embedded", adapter, {}, 0)).load()


@pytest.mark.parametrize(
    "kind", [{"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"kasa_config": KasaConfig()}]
)
def test_the_engine_compares_the_base_with_itself_and_the_named_fix_is_one(tmp_path, kind):
    adapter, model = trained(tmp_path / "adapter", **kind)
    with pytest.raises(UserError, match="changes the base itself as it is loaded"):
        TransformersEngine(Setup("embedded", adapter, {}, 0)).load()
    with pytest.raises(UserError, match="has changed the base's own weights"):
        refuse_other_models(model)
    order = Export("tiny", "embedded", adapter, "merged-16bit", (), None, "")
    write.check(order, tmp_path / "merged")
    write.write(order, tmp_path / "merged", quiet=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        theirs, ours, alone = (each(ids).logits.log_softmax(-1) for each in (model, merged, base()))
    assert (theirs - ours).abs().mean() < 0.1 * (theirs - alone).abs().mean()
