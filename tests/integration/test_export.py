"""harness export: what is written loads, says what base + adapter say, and is whole or not there."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import configuration, needs_bitsandbytes, rename_keys, save_adapter
from exports import export, order

from harness.data import datasets
from harness.errors import UserError
from harness.evaluation import evaluate, prompts
from harness.models import checkpoints
from harness.storage.files import read_json
from harness.storage.run_folder import Run
from train.export import write


def change(adapter: Path, how: Callable) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    save_file({name: how(tensor) for name, tensor in load_file(file).items()}, file)


def greedy(checkpoint: str, adapter: Path | None, limit: int = 48) -> list[str]:
    config = configuration("temperature=0.0", limit=limit)
    config = config.model_copy(update={"checkpoint": checkpoint})
    engine = evaluate.open_engine(config, str(adapter) if adapter else None)
    wanted = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=adapter is not None)
    drawn = [each for batch in engine.generate(wanted, frozenset(), config.sampling) for _, each in batch]
    return [each.text for each in sorted(drawn, key=lambda each: each.position)]


def dtypes(folder: Path) -> set[str]:
    header = (folder / "model.safetensors").read_bytes()
    entries = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    return {entry["dtype"] for name, entry in entries.items() if name != "__metadata__"}


def test_the_merged_model_gives_the_greedy_replies_of_base_and_adapter(adapter, tmp_path):
    merged = export(order(adapter, "merged-16bit"), tmp_path / "m")
    together, base = greedy("embedded", adapter), greedy("embedded", None)
    assert greedy(str(merged), None) == together
    assert sum(old != new for old, new in zip(base, together, strict=True)) >= 5


def test_what_16_bits_lose_of_a_small_adapter_is_said(tmp_path, capsys):
    wanted = order(save_adapter(tmp_path / "a", spread=1e-4), "merged-16bit")
    record = write.write(wanted, tmp_path / "m", quiet=False)
    assert 0.05 < record["kept_in_16_bits"] < 0.5
    shown = f"{record['kept_in_16_bits']:.1%}"
    assert f"{shown} of what the adapter changes are left in 16-bit weights" in capsys.readouterr().err
    assert f"left in 16-bit weights: {shown}." in (tmp_path / "m/README.md").read_text()


@pytest.mark.parametrize(("base", "expected"), [("bfloat16", "BF16"), ("float16", "F16"), ("float32", "BF16")])
def test_a_merge_keeps_the_base_s_16_bit_type(base, expected, adapter, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = checkpoints.locate("embedded")
    AutoModelForCausalLM.from_pretrained(where, dtype=getattr(torch, base)).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(where).save_pretrained(tmp_path / "base")
    made = export(order(adapter, "merged-16bit", checkpoint=str(tmp_path / "base")), tmp_path / "m")
    assert dtypes(made) == {expected}
    assert read_json(made / "config.json")["dtype"] == {"BF16": "bfloat16", "F16": "float16"}[expected]


def test_a_multimodal_checkpoint_keeps_its_keys_and_its_processor(tmp_path):
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    from baselines.peers.random_checkpoint import make_adapter, make_checkpoint
    from harness.engines.transformers import with_adapter

    base = tmp_path / "base"
    make_adapter(make_checkpoint(base, "gemma3", small=True), tmp_path / "a")
    (base / "tokenizer.model").write_bytes(b"the words of a sentencepiece tokenizer")
    made = export(order(tmp_path / "a", "merged-16bit", checkpoint=str(base)), tmp_path / "m")
    names = []
    for folder in (base, made):
        with safe_open(folder / "model.safetensors", framework="numpy") as file:
            names.append(set(file.keys()))
    assert names[0] == names[1]
    for name in ("preprocessor_config.json", "tokenizer.model", "chat_template.jinja"):
        assert (made / name).read_bytes() == (base / name).read_bytes()
    load = AutoModelForCausalLM.from_pretrained
    ids = torch.arange(10, 40)[None]
    plain, merged = (load(folder, dtype=torch.float32).eval()(ids).logits for folder in (base, made))
    both = with_adapter(load(base, dtype=torch.float32), str(tmp_path / "a")).eval()(ids).logits
    assert (merged - both).abs().max() < 0.2 * (plain - both).abs().max()


def test_a_lora_loads_and_names_no_path_of_this_machine(adapter, tmp_path):
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    made = export(order(adapter, "lora", chat_template=template), tmp_path / "l")
    assert greedy("embedded", made, limit=6) == greedy("embedded", adapter, limit=6)
    assert (made / "chat_template.jinja").read_text() == template
    everything = b"".join(file.read_bytes() for file in made.iterdir())
    for path in (tmp_path, adapter.parent, checkpoints.locate("embedded")):
        assert str(path).encode() not in everything


@needs_bitsandbytes
def test_4_bits_load_back_and_answer(adapter, tmp_path):
    made = export(order(adapter, "merged-4bit"), tmp_path / "m")
    assert read_json(made / "config.json")["quantization_config"]["bnb_4bit_quant_type"] == "nf4"
    assert "U8" in dtypes(made)
    together = greedy("embedded", adapter, limit=12)
    same = sum(old == new for old, new in zip(greedy(str(made), None, limit=12), together, strict=True))
    assert same >= 4
    with pytest.raises(UserError, match="weights are quantized"):
        write.check(order(adapter, "merged-16bit", checkpoint=str(made)), tmp_path / "again")


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_4_bits_need_bitsandbytes(adapter, tmp_path):
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        write.check(order(adapter, "merged-4bit"), tmp_path / "m")


def test_an_older_export_is_replaced_and_nothing_else(adapter, tmp_path):
    made = export(order(adapter, "merged-16bit"), tmp_path / "m")
    assert not (export(order(adapter, "lora"), made) / "model.safetensors").exists()
    (made / "mine.txt").touch()
    with pytest.raises(UserError, match=r"mine\.txt there is not an export's"):
        export(order(adapter, "lora"), made)
    assert (made / "mine.txt").is_file()


@pytest.mark.parametrize("files", [None, 5, [[1]], ["mine.txt"], {}])
def test_a_folder_with_somebody_elses_record_is_not_replaced(adapter, tmp_path, files):
    (tmp_path / "mine.txt").touch()
    (tmp_path / "export.json").write_text(json.dumps({"files": files}))
    with pytest.raises(UserError, match="there is not an export's"):
        write.check(order(adapter, "lora"), tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: rename_keys(folder, "model.model.layers", "model.model.language_model.layers"), "text-only"),
        (lambda folder: save_adapter(folder, spread=0.0), "lora_B at zero"),
        (lambda folder: change(folder, lambda tensor: tensor * float("nan")), "NaN or infinity"),
        (lambda folder: save_adapter(folder, spread=1e-6), r"so small that 0\.\d% of it are left"),
    ],
)
def test_an_adapter_that_does_nothing_is_not_merged(spoil, message, tmp_path):
    spoil(save_adapter(tmp_path / "a"))
    with pytest.raises(UserError, match=message):
        export(order(tmp_path / "a", "merged-16bit"), tmp_path / "m")
    assert not (tmp_path / "m").exists()


MISTAKES = [
    (("RUN", "--to", "merged-16"), "did you mean 'merged-16bit'"),
    (("RUN", "--to", "gguf", "--quant", "q4_k"), "did you mean 'q4_k_m'"),
    (("RUN", "--to", "gguf", "--quant", "q8_0,"), "unknown --quant ''"),
    (("RUN", "--to", "lora", "--quant", "q8_0"), "give --to gguf"),
    (("RUN", "--to", "lora", "--adapter", "a"), "leave those options out"),
    (("RUN", "--to", "lora", "--hub", "modelscope"), "leave those options out"),
    (("RUN", "--to", "inspect", "--hub", "modelscope"), "of the options --output alone"),
    (("--to", "lora", "--model", "tiny", "--adapter", "a", "--hub", "mirror"), "'huggingface' or 'modelscope'"),
    (("--to", "lora"), "give a RUN, or --model and --adapter"),
    (("--to", "lora", "--model", "tiny"), "give a RUN, or --model and --adapter"),
    (("--to", "lora", "--model", "tyni", "--adapter", "a"), "did you mean 'tiny'"),
    (("--to", "lora", "--model", "tiny", "--adapter", "nowhere"), "adapter_config.json"),
    (("--to", "lora", "--model", "tiny", "--adapter", "WIDE"), "made for another base"),
    (("EVALUATED", "--to", "lora"), "no trained adapter"),
    (("nowhere", "--to", "lora"), "not a run folder"),
    (("RUN",), "--to"),
    (("RUN", "--to", "lora", "--output", "full"), "full.txt there is not an export's"),
    (("RUN", "--to", "lora", "--output", "full/full.txt"), "not a folder"),
    (("RUN", "--to", "lora", "--output", "full/full.txt/x"), "full.txt"),
    (("RUN", "--to", "lora", "--measure"), "--measure is for merged weights"),
    (("--to", "merged-16bit", "--model", "tiny", "--adapter", "a", "--measure"), "the evaluation of a RUN"),
    (("RUN", "--to", "lora", "--push", "me/x"), "set HF_TOKEN"),
    (("RUN", "--to", "lora", "--push", "a/b/c", "--yes"), "not a repository's id"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_line_and_2(arguments, message, job, adapter, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/full.txt").touch()
    if "EVALUATED" in arguments:
        Run.create(tmp_path / "evaluated", configuration(), "harness run")
    if "WIDE" in arguments:
        change(save_adapter(tmp_path / "wide"), lambda tensor: tensor.repeat(2, 2))
    places = {"RUN": job, "EVALUATED": tmp_path / "evaluated", "WIDE": tmp_path / "wide"}
    code, said = command("export", *(places.get(word, word) for word in arguments))
    assert (code, said.count("\n")) == (2, 1)
    assert message in said
