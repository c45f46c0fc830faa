"""Names: which suggestion is made for a wrong one, and when none is."""

import gc
import sys

import pytest

from harness.config import Configuration
from harness.configure import recipe_names
from harness.data.datasets import DATASETS
from harness.errors import UserError
from harness.names_elsewhere import NAMES_ELSEWHERE
from harness.registry import choose, load, nearest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("tyni", recipe_names(), "tiny"),
        ("TINY", recipe_names(), "tiny"),
        ("gemma3-4", recipe_names(), "gemma3-4b"),
        ("llama", recipe_names(), None),
        ("gpt2", recipe_names(), None),
        ("wombat", Configuration.model_fields, None),
        ("bf16", Configuration.model_fields, None),
        ("stepps", Configuration.model_fields, "steps"),
        ("rank", Configuration.model_fields, "lora_rank"),
        ("openai/gsm8k", DATASETS, "gsm8k"),
        ("mmlu", DATASETS, None),
        ("", DATASETS, None),
    ],
)
def test_the_nearest_name_or_none(name, known, expected):
    assert nearest(name, known) == expected


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("max_steps", "max_steps is called steps here"),
        ("per_device_train_batch_size", "is called prompts_per_step here (it counts prompts, not completions)"),
        ("num_generations", "is called generations here"),
        ("load_in_4bit", "is called weights here (weights=4-bit)"),
        ("report_to", "is called tracker here"),
        ("lr", "is called learning_rate here"),
        ("max_seq_length", "is called max_sequence here"),
        ("lora_r", "is called lora_rank here"),
    ],
)
def test_names_of_other_programs_are_translated(name, told):
    with pytest.raises(UserError, match="is called") as caught:
        choose("recipe key", name, Configuration.model_fields, NAMES_ELSEWHERE)
    assert str(caught.value).endswith(told)


def test_every_translation_is_a_key_or_an_option():
    ours = {told.partition(" ")[0] for told in NAMES_ELSEWHERE.values()}
    assert ours - Configuration.model_fields.keys() == {"--output"}
    assert not NAMES_ELSEWHERE.keys() & Configuration.model_fields.keys()


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("content", ["import gc\nseen = gc.isenabled()", "import a_module_that_is_nowhere"])
def test_no_garbage_is_collected_while_a_module_is_imported(tmp_path, monkeypatch, collects, content):
    (tmp_path / "looks_at_gc.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    (gc.enable if collects else gc.disable)()
    try:
        if "nowhere" in content:
            with pytest.raises(ModuleNotFoundError):
                load("thing", "one", {"one": "looks_at_gc:seen"})
        else:
            assert load("thing", "one", {"one": "looks_at_gc:seen"}) is False
        assert gc.isenabled() is collects
    finally:
        gc.enable()
        sys.modules.pop("looks_at_gc", None)
