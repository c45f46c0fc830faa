"""An adapter is proven to act before anything is measured with it; each way not to act is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import configuration, rename_keys, save_adapter, save_kind
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen3MoeConfig, Qwen3MoeForCausalLM

from baselines.peers.random_checkpoint import make_checkpoint
from harness.engines import effect_of
from harness.errors import UserError
from harness.evaluation import evaluate, prompts
from harness.models import adapters, checkpoints, loading
from harness.stages import BOTH, state_names
from harness.storage.run_folder import Run


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return save_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory):
    """A small multimodal wrapper of gemma3-4b's kind."""
    folder = tmp_path_factory.mktemp("wrapper")
    make_checkpoint(folder, "gemma3", small=True)
    return str(folder)


# So many that an adapter moves some reply.
SOME = 12


def both_sides(folder: Path, adapter: Path, *settings: str, **options) -> Run:
    config = configuration(*settings, limit=SOME, adapter=str(adapter), engine="transformers", **options)
    run = Run.create(folder, config, "harness run")
    evaluate.evaluate(run, state_names(BOTH), str(adapter), True, None)
    return run


def test_base_and_adapter_from_one_engine_reply_as_from_two(tmp_path, adapter):
    run = both_sides(tmp_path / "both", adapter)
    for side, alone in (("before", None), ("after", str(adapter))):
        single = Run.create(tmp_path / side, configuration(limit=SOME, adapter=alone), "harness eval")
        evaluate.evaluate(single, [side], alone, True, None)
        assert single.completions(side) == run.completions(side)
    assert run.completions("before") != run.completions("after")
    effect = run.record.provenance["after"]["adapter_effect"]
    assert effect["evidence"] == "log-probabilities"
    assert effect["difference"] > 100 * effect["noise"]


def test_an_adapter_that_was_never_trained_is_refused(tmp_path):
    inert = save_adapter(tmp_path / "inert", spread=0.0)
    with pytest.raises(UserError, match=r"changes nothing .* all its \d+ lora_B are zero"):
        both_sides(tmp_path / "run", inert)
    run = Run.open(tmp_path / "run")
    assert not run.record.is_done("after")
    assert run.completions("after") == []


def test_keys_of_the_text_only_model_on_a_wrapper_are_refused(tmp_path, wrapper):
    trained = save_adapter(tmp_path / "adapter", wrapper)
    renamed = rename_keys(save_adapter(tmp_path / "renamed", wrapper), "language_model.", "")
    run = both_sides(tmp_path / "run", trained, "max_tokens=8", model=wrapper, recipe="tiny")
    assert run.record.provenance["after"]["adapter_effect"]["difference"] > 0
    with pytest.raises(UserError, match="its keys lack `language_model`"):
        both_sides(tmp_path / "other", renamed, "max_tokens=8", model=wrapper, recipe="tiny")


def test_keys_of_a_wrapper_on_the_text_only_model_are_refused(tmp_path):
    renamed = rename_keys(save_adapter(tmp_path / "adapter"), "model.layers", "model.language_model.layers")
    with pytest.raises(UserError, match="its keys name a `language_model`"):
        both_sides(tmp_path / "run", renamed)


def test_an_adapter_for_another_base_is_refused_before_a_model_is_loaded(tmp_path, adapter, wrapper):
    with pytest.raises(UserError, match="made for another base"):
        adapters.check(str(adapter), wrapper)
    with pytest.raises(UserError, match="made for another base"):
        adapters.check(str(save_adapter(tmp_path / "other", wrapper)), "embedded")


def test_the_rank_is_the_largest_of_its_layers(tmp_path, adapter):
    assert adapters.rank(str(adapter)) == 4
    file = adapter / "adapter_config.json"
    text = file.read_text()
    file.write_text(text.replace('"rank_pattern": {}', '"rank_pattern": {"q_proj": 24}'))
    assert adapters.rank(str(adapter)) == 24
    file.write_text(text)


def test_weights_that_replace_the_bases_own_are_refused(tmp_path, adapter):
    """PEFT loads them into the base itself, where no disable_adapter() takes them out again."""
    shutil.copytree(adapter, tmp_path / "more")
    weights = load_file(tmp_path / "more" / adapters.WEIGHTS)
    weights["base_model.model.model.norm.weight"] = torch.ones(192)
    save_file(weights, tmp_path / "more" / adapters.WEIGHTS)
    with pytest.raises(UserError, match="replaces a weight of the base itself"):
        adapters.check(str(tmp_path / "more"), "embedded")


def test_an_adapter_of_the_vision_tower_too_is_no_other_bases(tmp_path, wrapper):
    model = AutoModelForImageTextToText.from_pretrained(wrapper)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "both")
    assert any("vision" in key for key in load_file(tmp_path / "both" / adapters.WEIGHTS))
    adapters.check(str(tmp_path / "both"), wrapper)


def test_the_checkpoints_own_penalties_stay_out_whatever_the_adapters_task(tmp_path, adapter):
    base = Path(shutil.copytree(checkpoints.locate("embedded"), tmp_path / "base"))
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps(settings | {"repetition_penalty": 1.8}))
    shutil.copytree(adapter, tmp_path / "untyped")
    said = json.loads((tmp_path / "untyped" / "adapter_config.json").read_text())
    (tmp_path / "untyped" / "adapter_config.json").write_text(json.dumps(said | {"task_type": None}))
    options = {"model": str(base), "recipe": "tiny"}
    with_penalty = both_sides(tmp_path / "with", tmp_path / "untyped", "temperature=0", **options)
    without = both_sides(tmp_path / "without", adapter, "temperature=0")
    for side in state_names(BOTH):
        assert [each.text for each in with_penalty.completions(side)] == [
            each.text for each in without.completions(side)
        ]


def test_replies_of_another_model_are_not_gone_on_with(tmp_path):
    base = Path(shutil.copytree(checkpoints.locate("embedded"), tmp_path / "base"))
    config = configuration(limit=6, model=str(base), recipe="tiny")
    run = Run.create(tmp_path / "run", config, "harness eval")
    evaluate.evaluate(run, ["before"], None, True, None)
    journal = tmp_path / "run" / "before" / "completions.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:3]))
    run.hashes.add(journal)
    (base / "generation_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"the checkpoint changed since side .before. .* start over with --fresh"):
        evaluate.evaluate(run, ["before"], None, True, None)


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """A small mixture of experts, its files as the hub has them: a weight for each expert."""
    folder = tmp_path_factory.mktemp("experts")
    for file in Path(checkpoints.locate("embedded")).iterdir():
        if "token" in file.name or "template" in file.name:
            shutil.copy(file, folder / file.name)
    size = len(loading.load_tokenizer(str(folder)))
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=size, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2,
        )
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        ("embedded", {"target_modules": ["q_proj", "embed_tokens"]}),
        ("embedded", {"target_modules": ["lm_head"]}),
        ("embedded", {"target_modules": ["embed_tokens"]}),
        ("embedded", {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6, 7]}),
        ("embedded", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
        ("embedded", {"target_modules": ["q_proj"], "use_dora": True}),
        ("embedded", {"target_modules": ["q_proj"], "layers_to_transform": [1, 2]}),
        ("embedded", {"target_modules": r".*\.[23]\.mlp\.(up|down)_proj"}),
        ("experts", {"target_modules": ["q_proj"], "target_parameters": EXPERTS}),
        ("experts", {"target_modules": ["q_proj"], "target_parameters": EXPERTS[:1], "rank_pattern": {"q_proj": 2}}),
    ],
)
def test_every_kind_of_adapter_answers_beside_its_base(tmp_path, experts, base, kind):
    base = experts if base == "experts" else checkpoints.locate(base)
    adapter = save_kind(tmp_path / "adapter", base, **kind)
    adapters.check(str(adapter), base)
    options = {"model": base, "recipe": "tiny", "limit": 1}
    config = configuration("max_tokens=8", engine="transformers", **options)
    both, alone = evaluate.open_engine(config, str(adapter)), evaluate.open_engine(config, None)
    (request,) = prompts.requests(config, evaluate.datasets.evaluation_problems(config), both, False)
    effect = both.adapter_effect([request])
    assert effect.acts
    assert not effect.leaks
    assert both._log_probabilities(request.prompt, False) == alone._log_probabilities(request.prompt, False)


ALONE, ADAPTED, ROUNDED = [-1.0, -2.0, -3.0], [-1.5, -2.5, -2.0], [-1.03, -1.96, -3.05]


@pytest.mark.parametrize(
    ("adapted", "beside_base", "beside_adapter", "leaks"),
    [
        (ADAPTED, ALONE, ALONE, False),
        (ADAPTED, ALONE, ADAPTED, True),
        (ADAPTED, ROUNDED, ROUNDED, False),
        (ADAPTED, ROUNDED, [-1.52, -2.49, -2.04], True),
        # An adapter that has hardly learned: a batch alone moves the base more than it does.
        ([-1.0, -2.001, -3.0], ROUNDED, ROUNDED, False),
        (["four", "five"], ["four", "six"], ["four", "six"], False),
        (["four", "five"], ["one", "six"], ["four", "five"], True),
    ],
)
def test_what_a_batch_alone_changes_is_no_leak(adapted, beside_base, beside_adapter, leaks):
    base = ALONE if isinstance(adapted[0], float) else ["one", "six"]
    assert effect_of(base, adapted, base, (beside_base, beside_adapter), 1).leaks is leaks
