"""An adapter is proven to act before anything is measured with it; each way not to act is named."""

from pathlib import Path

import pytest
from conftest import configuration, rename_keys, save_adapter

from baselines.peers.random_checkpoint import make_checkpoint
from harness import adapters, evaluate
from harness.errors import UserError
from harness.store import BOTH, Run, parts


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return save_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory):
    """A small multimodal wrapper of gemma3-4b's kind."""
    folder = tmp_path_factory.mktemp("wrapper")
    make_checkpoint(folder, text_only=False, small=True)
    return str(folder)


def both_sides(folder: Path, adapter: Path, *settings: str, **options) -> Run:
    config = configuration(*settings, limit=6, adapter=str(adapter), engine="transformers", **options)
    run = Run.create(folder, config, "harness run")
    evaluate.evaluate(run, parts(BOTH), str(adapter), True, None)
    return run


def test_base_and_adapter_from_one_engine_reply_as_from_two(tmp_path, adapter):
    run = both_sides(tmp_path / "both", adapter)
    for side, alone in (("before", None), ("after", str(adapter))):
        single = Run.create(tmp_path / side, configuration(limit=6, adapter=alone), "harness eval")
        evaluate.evaluate(single, [side], alone, True, None)
        assert single.completions(side) == run.completions(side)
    assert run.completions("before") != run.completions("after")
    effect = run.record["provenance"]["after"]["adapter_effect"]
    assert effect["evidence"] == "log-probabilities"
    assert effect["difference"] > 100 * effect["noise"]


def test_an_adapter_that_was_never_trained_is_refused(tmp_path):
    inert = save_adapter(tmp_path / "inert", spread=0.0)
    with pytest.raises(UserError, match=r"changes nothing .* all its \d+ lora_B are zero"):
        both_sides(tmp_path / "run", inert)
    run = Run.open(tmp_path / "run")
    assert not run.is_done("after")
    assert run.completions("after") == []


def test_keys_of_the_text_only_model_on_a_wrapper_are_refused(tmp_path, wrapper):
    trained = save_adapter(tmp_path / "adapter", wrapper)
    renamed = rename_keys(save_adapter(tmp_path / "renamed", wrapper), "language_model.", "")
    run = both_sides(tmp_path / "run", trained, "max_tokens=8", model=wrapper, recipe="tiny")
    assert run.record["provenance"]["after"]["adapter_effect"]["difference"] > 0
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
