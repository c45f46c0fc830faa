"""Checkpoints that somebody else made: whatever their files hold, loading ends in success or in one line."""

import json
import shutil
from pathlib import Path

import pytest
from fuzzing import TOO_DEEP, ends_in_order
from transformers import AutoTokenizer

from harness import bounds
from harness.errors import UserError
from harness.models import chat, checkpoint_checks, checkpoints, loading, tokenizer_trial
from harness.parsing import formats

MODEL = Path(checkpoints.locate("embedded"))
TEMPLATE = (MODEL / "chat_template.jinja").read_text()
FOR_EVER = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def model(tmp_path) -> Path:
    return shutil.copytree(MODEL, tmp_path / "model")


def loaded(folder: Path) -> None:
    """As a run does up to its first weight."""
    checkpoint_checks.check(str(folder))
    checkpoints.shapes(folder)
    loading.load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(10**12) %}{% endfor %}", "Range too big"),
        (FOR_EVER, "takes longer than 0.5 s"),
        ("{% if '12 and 34' not in messages[0]['content'] %}" + FOR_EVER + "{% endif %}", "takes longer than 0.5 s"),
        ("{% set x = 10**(10**9) %}", "takes longer than 0.5 s"),
        ("{{ 'x' * 10**12 }}", "takes over 2 GiB"),
        ("{{ 'x' * (3 * 10**9) }}", "takes over 2 GiB"),
        ("{{ 'x' | center(10**10) }}", "takes over 2 GiB"),
        ("{{ '%10000000000d' % 1 }}", "takes over 2 GiB"),
        ("{{ '{:>10000000000}'.format(1) }}", "takes over 2 GiB"),
        ("{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
         "takes over 2 GiB|takes longer than 0.5 s"),
        ("{{ 'x' * 10**6 }}", "makes 10000.. characters of it"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "maximum recursion depth"),
        ("{{ " + "(" * TOO_DEEP + "1" + ")" * TOO_DEEP + " }}", "maximum recursion depth"),
        ("{{ ''.__class__.__mro__ }}", "__class__"),
        ("{{ '{0.__class__.__mro__}'.format(1) }}", "__class__"),
        ("{{ strftime_now.__globals__ }}x{{ cycler.__init__.__globals__['os'] }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% break %}", "outside loop"),
        ("{{ '\\ud800' }}", "surrogates not allowed"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)  # fmt: skip
def test_a_chat_template_is_rendered_in_bounded_time_memory_and_size(tokenizer, monkeypatch, template, message):
    monkeypatch.setattr(bounds, "SECONDS", 0.5)
    tokenizer.chat_template = TEMPLATE + template
    with pytest.raises(UserError, match=f"chat template refuses the prompt .*({message}).*: give another"):
        chat.render(tokenizer, formats.messages("What is 2 and 2?", None))


def test_a_long_question_is_no_template_s_fault(tokenizer):
    tokenizer.chat_template = TEMPLATE
    assert len(chat.render(tokenizer, formats.messages("many " * 100_000, None))) > 499_000


NAMES = ("a", "b")


@pytest.mark.parametrize(
    "index",
    [
        [1], None, "text", {}, {"weight_map": None}, {"weight_map": 7}, {"weight_map": ["a"]},
        *({"weight_map": dict.fromkeys(NAMES, file)} for file in (
            ["a"], 3, None, "", ".", "..", "../model.safetensors", "/etc/passwd", "/dev/zero", "a/b.safetensors",
            "a\0.safetensors", "pytorch_model.bin",
        )),
    ],
)  # fmt: skip
def test_an_index_of_weights_names_files_of_its_folder(model, index):
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert ends_in_order(lambda: loaded(model)) == 2


def test_an_index_as_the_libraries_write_it_is_read(model):
    index = {"metadata": {}, "weight_map": dict.fromkeys(NAMES, "model-00001-of-00001.safetensors")}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    loaded(model)
    assert len(checkpoints.shapes(model)) > 20


def split(expression: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre_tokenizer": split("(a+)+!")}, "makes no tokens of plain text .*retry-limit-in-match over"),
        ({"pre_tokenizer": split("(")}, "makes no tokens of plain text .*unmatched parenthesis"),
        ({"normalizer": {"type": "Sequence", "normalizers": [GROWS] * 5}}, "makes no tokens .*was ended by SIGABRT"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////////"}}, "was ended by SIGABRT"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 100_000}}, "its tokenizer reads 'What is 12"),
        ({"model": {"dropout": 0.5}}, "other tokens each time: it has a dropout"),
        ({"model": {"vocab": {"zzz": 2**32 - 1}}}, "out of vocabulary"),
        ({"model": {"vocab": {"zzz": 2**33}}}, "makes no tokens of plain text .*expected u32"),
        ({"model": {"vocab": 7}}, "makes no tokens of plain text"),
        ({"added_tokens": {}}, "makes no tokens of plain text"),
        ({"truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5}}, "stride"),
    ],
)
def test_a_tokenizer_that_fails_or_grows_is_one_line(model, changes, message):
    file = model / "tokenizer.json"
    whole = json.loads(file.read_text())
    for key, value in changes.items():
        whole[key] = whole[key] | value if key == "model" and isinstance(value, dict) else value
    file.write_text(json.dumps(whole))
    with pytest.raises(UserError, match=message):
        loading.load_tokenizer(str(model))


def test_a_trial_that_cannot_start_blames_no_tokenizer(model, monkeypatch):
    monkeypatch.setattr(tokenizer_trial, "__name__", "harness.models.no_such_module")
    with pytest.raises(RuntimeError, match="no_such_module"):
        tokenizer_trial.check(model / "tokenizer.json")


@pytest.mark.parametrize(
    "name",
    ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
     "tokenizer.json", "model.safetensors", "model.safetensors.index.json"],
)  # fmt: skip
def test_a_file_that_is_a_device_is_not_read(model, name):
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to("/dev/zero")
    assert ends_in_order(lambda: loaded(model)) == 2


KEYS = {
    "config.json": (
        *json.loads((MODEL / "config.json").read_text()), "text_config", "auto_map", "quantization_config",
        "rope_scaling",
    ),
    "generation_config.json": ("bos_token_id", "eos_token_id", "pad_token_id", "temperature", "do_sample"),
    "tokenizer_config.json": (
        *json.loads((MODEL / "tokenizer_config.json").read_text()), "added_tokens_decoder", "chat_template", "auto_map",
        "extra_special_tokens", "additional_special_tokens", "clean_up_tokenization_spaces",
    ),
    "special_tokens_map.json": ("eos_token", "pad_token", "additional_special_tokens"),
}  # fmt: skip
WRONG = [None, -1, 10**12, "x", [[1]], {"a": 1}]


@pytest.mark.parametrize("name", KEYS)
def test_a_value_of_any_type_at_any_key_ends_in_order(model, name):
    file = model / name
    whole = json.loads(file.read_text()) if file.exists() else {}
    for key in KEYS[name]:
        for value in WRONG:
            file.write_text(json.dumps(whole | {key: value}))
            ends_in_order(lambda: loaded(model))
