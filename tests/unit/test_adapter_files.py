"""An adapter's files: what does not fit its configuration is refused, and layers are named as PEFT names them."""

import json
import re
from pathlib import Path

import pytest
from conftest import save_adapter, save_kind
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from harness.models import adapter_layers, adapters, checkpoints
from train import lora


def changed(adapter: Path, settings: dict | None = None, tensors=lambda found: found) -> str:
    file, weights = adapter / "adapter_config.json", adapter / adapters.WEIGHTS
    file.write_text(json.dumps(json.loads(file.read_text()) | (settings or {})))
    save_file(tensors(load_file(weights)), weights, metadata={"format": "pt"})
    return str(adapter)


def first_layers(found: dict) -> dict:
    return {key: value for key, value in found.items() if "layers.0." in key or "layers.1." in key}


@pytest.mark.parametrize(
    ("settings", "tensors", "message"),
    [
        ({}, first_layers, r"nothing for 2 of the 4 layers .*the first is layers\.2"),
        ({"layers_to_transform": [0, 1]}, dict, r"its file has layers\.2\..* does not name"),
        ({"target_modules": ["q_proj"]}, dict, r"its file has layers\.0\..* does not name"),
        ({"exclude_modules": ["down_proj"]}, dict, r"its file has layers\.0\.mlp\.down_proj"),
        ({"rank_pattern": {"q_proj": 8}}, dict, r"lora_[AB] of .*q_proj has rank 4, its adapter_config.json says 8"),
        ({"r": 2}, dict, "has rank 4, its adapter_config.json says 2"),
        ({"target_modules": "("}, dict, "a pattern in its adapter_config.json is not valid"),
        ({"target_modules": 7}, dict, "target_modules in its adapter_config.json is not valid"),
        ({"alpha_pattern": {"q_proj": "much"}}, dict, "alpha_pattern in its adapter_config.json is not valid"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_its_configuration_is_refused(tmp_path, settings, tensors, message):
    broken = changed(save_adapter(tmp_path / "adapter"), settings, tensors)
    with pytest.raises(UserError, match=message):
        adapters.check(broken, "embedded")


def test_an_embedding_of_its_own_is_refused_with_a_command_that_works(tmp_path):
    base = checkpoints.locate("embedded")
    adapter = save_kind(tmp_path / "adapter", base, target_modules=["q_proj", "embed_tokens"])
    key = "base_model.model.model.embed_tokens.base_layer.weight"
    changed(adapter, tensors=lambda found: found | {key: found[key] + 1})
    with pytest.raises(UserError, match=r"replaces a weight of the base itself: merge it .harness export"):
        adapters.check(str(adapter), "embedded")
    adapters.check(str(adapter), "embedded", beside_base=False)


def untrained(found: dict) -> dict:
    return {key: value * ("lora_embedding_A" not in key) for key, value in found.items()}


@pytest.mark.parametrize(
    ("kind", "tensors", "reason"),
    [
        ({"target_modules": ["embed_tokens"]}, untrained, "all its 1 lora_embedding_A are zero: it was never trained"),
        ({"target_modules": ["embed_tokens"]}, dict, r"the engine ignores its 3 tensors \(the first: .*embed_tokens"),
        ({"target_modules": ["q_proj"]}, lambda found: {}, "the engine ignores its 0 tensors"),
    ],
)
def test_why_an_adapter_changes_nothing(tmp_path, kind, tensors, reason):
    adapter = changed(save_kind(tmp_path / "adapter", checkpoints.locate("embedded"), **kind), tensors=tensors)
    assert re.match(reason, adapters.why_inert(adapter, "embedded"))


def test_an_adapter_on_embeddings_alone_counts_as_trained_once_it_differs_from_its_start(tmp_path):
    adapter = save_kind(tmp_path / "adapter", checkpoints.locate("embedded"), target_modules=["embed_tokens"])
    assert lora.check_trained(adapter) == {"lora_b": 1, "lora_b_trained": 1}
    changed(adapter, tensors=untrained)
    with pytest.raises(UserError, match="at zero"):
        lora.check_trained(adapter)


NAMES = [f"model.layers.{layer}.{part}" for layer in (0, 1, 12) for part in ("self_attn.q_proj", "mlp.down_proj")]


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["model.layers.1.mlp.down_proj", "q_proj"]},
        {"target_modules": ["proj"]},
        {"target_modules": r".*layers\.1\..*"},
        {"target_modules": ["q_proj", "down_proj"], "exclude_modules": ["mlp.down_proj"]},
        {"target_modules": ["q_proj", "down_proj"], "exclude_modules": r".*\.12\..*"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "layers_to_transform": 12, "layers_pattern": "layers"},
        {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h"]},
        {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["mlp"]},
    ],
)
def test_layers_are_named_as_peft_names_them(settings):
    theirs = [bool(check_target_module_exists(LoraConfig(**settings), name)) for name in NAMES]
    assert [adapter_layers.is_target(settings, name) for name in NAMES] == theirs


def test_ranks_are_those_of_peft():
    ranks = {"layers.1.self_attn.q_proj": 2, "q_proj": 3, r"layers\.\d+\.mlp\.down_proj": 5}
    theirs = [ranks.get(get_pattern_key(ranks, name), 4) for name in NAMES]
    assert [adapter_layers.rank_of({"r": 4, "rank_pattern": ranks}, name) for name in NAMES] == theirs
