"""Which checkpoints come from ModelScope, and by which ids."""

from importlib.util import find_spec

import pytest

from harness.config import EMBEDDED
from harness.configure import configure, read_recipe, recipe_names
from harness.data.named_datasets import DATASETS
from harness.models import checkpoints, modelscope


@pytest.mark.parametrize(
    ("model", "id_there"),
    [
        ("gemma3-4b", "LLM-Research/gemma-3-4b-it"),
        ("gemma3-1b", "LLM-Research/gemma-3-1b-it"),
        ("gemma3-270m", "google/gemma-3-270m-it"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("LLM-Research/gemma-3-4b-it", "LLM-Research/gemma-3-4b-it"),
        ("tiny", None),
        (checkpoints.locate(EMBEDDED), None),
    ],
)
def test_ids(model, id_there):
    there = configure(model, None, {"hub": "modelscope"}, [])
    assert modelscope.id_of(there.checkpoint) == id_there
    here = configure(model, None, {}, [])
    assert modelscope.id_of(here.checkpoint) is None
    assert (here.folder_name == there.folder_name) is False


def test_every_other_id_is_one_of_ours():
    ours = {read_recipe(name)["checkpoint"] for name in recipe_names()}
    assert modelscope.IDS.keys() <= ours | {source.address for source in DATASETS.values() if source}


@pytest.mark.skipif(find_spec("modelscope") is not None, reason="modelscope is installed here")
@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--recipe", "tiny", "--model", "gemma3-4b"),
        ("eval", "--recipe", "tiny", "--dataset", "gsm8k"),
        ("export", "--to", "lora", "--model", "gemma3-4b", "--adapter", "ADAPTER"),
    ],
)
def test_without_its_package_the_fix_is_named(command, adapter, words):
    code, said = command(*(str(adapter) if word == "ADAPTER" else word for word in words), "--hub", "modelscope")
    assert (code, said) == (2, "harness: hub = modelscope needs modelscope: pip install 'grpo-harness[modelscope]'\n")
