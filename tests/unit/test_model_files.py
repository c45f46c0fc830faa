"""Checkpoint folders as people have them: what is wrong with one is named by file and key before weights are loaded."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from conftest import configuration
from safetensors.torch import save_file

from harness.cli.run_checks import check_run
from harness.engines.base_weights import evaluation_weights
from harness.errors import UserError
from harness.models import adapters, checkpoint_checks, checkpoints, loading, model_files, precision, quantized
from harness.plan.case import size_of
from harness.types import AS_STORED


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded model to break."""
    return shutil.copytree(checkpoints.locate("embedded"), tmp_path / "model")


def edit(folder, name, **values):
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(settings | values))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "not a JSON object"),
        (b"5", "not a JSON object"),
        (b"{", "not JSON .Expecting property name"),
        (b"\xef\xbb\xbf{}", "not JSON .Unexpected UTF-8 BOM"),
        (b"\xff\xfe{\0}\0", "not JSON .*codec can't decode"),
        (b"[" * 100_000, "not JSON .*recursion"),
    ],
    ids=["list", "number", "cut off", "byte order mark", "UTF-16", "too deep"],
)
def test_settings_that_are_no_table_are_named(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        checkpoint_checks.check(str(folder))


IDS = [
    ("eos_token_id", "5"), ("eos_token_id", [5, "x"]), ("eos_token_id", -1), ("eos_token_id", 1024),
    ("eos_token_id", 5.0), ("eos_token_id", True), ("eos_token_id", [[5]]), ("bos_token_id", "2"), ("bos_token_id", -2),
    ("bos_token_id", [2]), ("pad_token_id", "0"), ("pad_token_id", 5000), ("pad_token_id", -2),
]  # fmt: skip
TOKENS = [
    ("eos_token", 5), ("eos_token", ["a"]), ("eos_token", {"content": 5}), ("pad_token", 5), ("model_max_length", "2"),
    ("model_max_length", True), ("tokenizer_class", 5), ("padding_side", 5), ("model_input_names", 5),
    ("added_tokens_decoder", [1]), ("additional_special_tokens", "x"), ("extra_special_tokens", 5), ("auto_map", 5),
    ("chat_template", 5), ("chat_template", [5]), ("chat_template", [{"name": "a"}]), ("chat_template", {"a": 5}),
]  # fmt: skip
COUNTS = [
    ("vocab_size", "1024"), ("vocab_size", 0), ("hidden_size", 192.0), ("max_position_embeddings", "2048"),
    ("num_hidden_layers", -4), ("num_attention_heads", [4]), ("text_config", {"vocab_size": "1024"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("config.json", *each) for each in IDS + COUNTS),
        *(("generation_config.json", *each) for each in IDS),
        *(("tokenizer_config.json", *each) for each in TOKENS),
    ],
)
def test_a_wrong_value_is_named_by_file_and_key(folder, name, key, value):
    if key == "chat_template":
        (folder / "chat_template.jinja").unlink()
    edit(folder, name, **{key: value})
    key = "vocab_size" if key == "text_config" else key
    with pytest.raises(UserError, match=rf"{name}: {key} ") as raised:
        checkpoint_checks.check(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("config.json", "pad_token_id", -1),
        ("config.json", "eos_token_id", None),
        ("generation_config.json", "eos_token_id", [1, 5]),
        ("tokenizer_config.json", "eos_token", {"content": "<end_of_turn>", "special": True}),
        ("tokenizer_config.json", "model_max_length", 1e30),
    ],
)
def test_what_people_have_is_taken(folder, name, key, value):
    edit(folder, name, **{key: value})
    checkpoint_checks.check(str(folder))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rms_norm_eps": 1}, "config.json is not what transformers expects .*'rms_norm_eps' expected float, got int"),
        ({"layer_types": "x"}, "'layer_types'"),
        ({"num_hidden_layers": 3}, "`num_hidden_layers`"),
        ({"tie_word_embeddings": "true"}, "'tie_word_embeddings' expected bool"),
        ({"model_type": "nonsense"}, "nonsense"),
        ({"dtype": "bf16"}, "bf16"),
    ],
)
def test_a_config_that_transformers_refuses_is_one_line(folder, values, message):
    edit(folder, "config.json", **values)
    checkpoint_checks.check(str(folder))
    with pytest.raises(UserError, match=message) as raised:
        loading.load_tokenizer(str(folder)), loading.load_model(str(folder), False)
    assert "\n" not in str(raised.value)


def test_weights_that_are_not_the_models_are_named(folder):
    from safetensors.torch import load_file, save_file

    edit(folder, "config.json", intermediate_size=384)
    with pytest.raises(
        UserError, match=r"down_proj.weight is \[192, 768\] in its files and \[192, 384\] by config.json"
    ):
        loading.load_model(str(folder), False)
    edit(folder, "config.json", intermediate_size=768)
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".layers.2." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 13 of the model's weights .model.layers.2.input_layernorm.weight"):
        loading.load_model(str(folder), False)


def lose(*names):
    def damage(folder):
        for name in names:
            (folder / name).unlink()

    return damage


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def words_only(folder):
    """What transformers once made of a folder without tokenizer.json."""
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"] |= {"vocab": {"<unk>": 3}, "merges": []}
    settings["added_tokens"] = settings["added_tokens"][:4]
    (folder / "tokenizer.json").write_text(json.dumps(settings))


def grow(folder):
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"]["vocab"] |= {f"more{place}": 1024 + place for place in range(50)}
    (folder / "tokenizer.json").write_text(json.dumps(settings))


def set_token(name):
    return lambda folder: edit(folder, "tokenizer_config.json", **{name: "<nowhere>"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose("tokenizer.json"), "no tokenizer.json there: copy the tokenizer's files"),
        (lose("tokenizer.json", "tokenizer_config.json"), "no tokenizer.json there"),
        (write("tokenizer.json", b"{"), "makes no tokens of plain text .EOF while parsing"),
        (write("tokenizer.json", b"{}"), "makes no tokens of plain text"),
        (words_only, "its tokenizer reads 'What is 12 . 34.* as .*copy the model's own tokenizer"),
        (grow, r"its tokenizer has 10\d\d tokens, the model 1024"),
        (set_token("eos_token"), "eos_token '<nowhere>' is none of"),
        (set_token("pad_token"), "pad_token '<nowhere>' is none of"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_is_not_the_models_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message) as raised:
        checkpoint_checks.check(str(folder)), loading.load_tokenizer(str(folder))
    assert "\n" not in str(raised.value)


def test_a_tokenizer_of_sentencepiece_alone_is_one_line(folder):
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    checkpoint_checks.check(str(folder))
    with pytest.raises(UserError, match="cannot be loaded") as raised:
        loading.load_tokenizer(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
        ({}, None),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 32768, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
          "original_max_position_embeddings": 32768}}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
          "original_max_position_embeddings": 32768}}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
          "original_max_position_embeddings": 8192}}, 131072),
        ({"max_position_embeddings": 2048, "rope_parameters": {"full_attention": {"rope_type": "default"}}}, 2048),
    ],
)  # fmt: skip
def test_the_context_is_what_the_settings_say(config, length):
    assert model_files.context_length(config) == length


def test_the_table_has_every_method_of_transformers():
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    known = {name.removesuffix("_4bit").removesuffix("_8bit") for name in AUTO_QUANTIZER_MAPPING}
    # A GGUF has no config.json; stored NVFP4 transformers does not read.
    assert set(quantized.METHODS) == known - {"gguf", "nvfp4"}


@pytest.mark.parametrize(
    ("settings", "library"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "optimum and gptqmodel"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "torchao"}, "torchao"),
        ({"quant_method": "eetq"}, "kernels"),
        ({"quant_method": "quanto"}, "optimum-quanto"),
        ({"quant_method": "aqlm"}, "aqlm"),
        ({"quant_method": "quark"}, "amd-quark"),
    ],
)
def test_quantized_weights_name_the_library_before_anything_is_loaded(folder, settings, library):
    if find_spec(library.rpartition(" ")[2].replace("-", "_")):
        pytest.skip(f"{library} is installed here")
    edit(folder, "config.json", quantization_config=settings)
    config = configuration(f"checkpoint={folder}", engine="transformers", limit=2)
    with pytest.raises(UserError, match=rf"which needs {library}: pip install .*16-bit checkpoint"):
        check_run(config, ["before"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant_method": "nonsense"}, "by nonsense, which transformers does not read"),
        ({"quant_method": "modelopt"}, "by modelopt, which"),
        ({"quant_method": None}, "without quant_method, which"),
        ({"bits": 4, "group_size": 64}, "without quant_method, which"),
        ({"quant_method": 5}, "by 5, which"),
        ([], "quantization_config is not a JSON object"),
        (5, "quantization_config is not a JSON object"),
    ],
)
def test_a_quantization_that_nobody_reads_is_refused(folder, settings, message):
    edit(folder, "config.json", quantization_config=settings)
    with pytest.raises(UserError, match=message):
        check_run(configuration(f"checkpoint={folder}", engine="transformers", limit=2), ["before"])


@pytest.mark.parametrize(
    ("method", "engine", "trains", "message"),
    [
        ("mxfp4", "transformers", True, "no LoRA can be trained on weights quantized by mxfp4"),
        ("fp8", "vllm", True, "no LoRA can be trained on weights quantized by fp8"),
        ("fp8", "transformers", False, None),
        ("awq", "vllm", False, None),
        ("nonsense", "vllm", False, None),
        ("bitsandbytes", "vllm", False, "which needs bitsandbytes"),
    ],
)
def test_what_an_engine_and_training_can_do_with_quantized_weights(method, engine, trains, message):
    config = {"text_config": {"quantization_config": {"quant_method": method}}}
    if message is None:
        quantized.check(config, "m", engine, trains)
    else:
        with pytest.raises(UserError, match=message):
            quantized.check(config, "m", engine, trains)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, False),
        ({"quantization_config": None}, False),
        ({"quantization_config": {"quant_method": "fp8"}}, True),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, True),
        ({"text_config": {"quantization_config": None}}, False),
    ],
)
def test_everything_that_asks_whether_weights_are_quantized_sees_the_same(tmp_path, monkeypatch, config, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"model.layers.0.mlp.up_proj.weight": torch.zeros(8, 4)}, tmp_path / "model.safetensors")
    here = str(tmp_path)
    monkeypatch.setattr(precision, "find_spec", lambda name: True)
    assert (quantized.method_of(config, here) != "") is expected
    assert (evaluation_weights(configuration(f"checkpoint={here}", "weights=4-bit"), True)[0] == AS_STORED) is expected
    assert (size_of(configuration(f"checkpoint={here}")).source != "counted in its files") is expected
    assert (adapters._base_shapes(here) is None) is expected


def test_four_bits_of_another_kind_are_no_base_for_four_bits(folder):
    edit(folder, "config.json", quantization_config={"quant_method": "mxfp4"})
    config = configuration(f"checkpoint={folder}", "weights=4-bit", trains=True)
    from harness.cli.run_checks import _check_training

    with pytest.raises(UserError, match=r"weights = 4-bit: .* is quantized by mxfp4 already: --set weights=16-bit"):
        _check_training(config)


def test_training_beyond_the_context_is_refused():
    from harness.cli.run_checks import _check_training

    with pytest.raises(UserError, match="max_sequence = 4096: embedded reads 2048 tokens"):
        _check_training(configuration("max_sequence=4096", trains=True))
