"""One model in several engines: what a training leaves beside its adapter, and each fault that shows against it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import configuration, rename_keys, save_adapter
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.engines import agreement
from harness.engines.agreement import Record, Scores
from harness.engines.transformers import with_adapter
from harness.errors import UserError
from harness.evaluation import evaluate
from harness.findings import TIMES_BASE
from harness.models import adapters, checkpoints, loading
from harness.stages import BOTH, state_names
from harness.storage.run_folder import Run
from train import frozen, probes

PATTERNS = {"alpha_pattern": {"q_proj": 32, "layers.2.mlp.down_proj": 40}}


def base_model(dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(checkpoints.locate("embedded"), dtype=dtype).eval()


def settings_changed(adapter: Path, **changes) -> Path:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return adapter


def keys_kept(adapter: Path, keeps) -> Path:
    file = adapter / adapters.WEIGHTS
    save_file({key: tensor for key, tensor in load_file(file).items() if keeps(key)}, file, metadata={"format": "pt"})
    return adapter


def leave_record(adapter: Path) -> Path:
    """What the end of a training writes, from the adapter's own files."""
    texts = probes.fixed_texts(configuration(), loading.load_tokenizer("embedded"))
    own = probes.trainer_scores(with_adapter(base_model(), str(adapter)), texts)
    agreement.write(adapter, Record(texts, (own,), {}))
    return adapter


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An adapter with its training's record, plain, with rsLoRA's scale and with scales of its own for some layers."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {"plain": {}, "rslora": {"use_rslora": True}, "patterns": PATTERNS}
    return {
        name: leave_record(settings_changed(save_adapter(folder / name, spread=0.1), **each))
        for name, each in changes.items()
    }


def engine_for(adapter: Path | str, dtype: str = "float32"):
    return evaluate.open_engine(configuration(engine="transformers", engine_args={"dtype": dtype}), str(adapter))


def proven(adapter: Path, dtype: str = "float32") -> dict:
    return agreement.compare_with_training(str(adapter), engine_for(adapter, dtype).score)


def swapped(adapter: Path) -> Path:
    for old, new in (("gate_proj", "other"), ("up_proj", "gate_proj"), ("other", "up_proj")):
        rename_keys(adapter, old, new)
    return adapter


FAULTS = {
    "rsLoRA read as plain alpha": ("rslora", lambda each: settings_changed(each, use_rslora=False)),
    "alpha_pattern read as plain alpha": ("patterns", lambda each: settings_changed(each, alpha_pattern={})),
    "a doubled scale": ("plain", lambda each: settings_changed(each, lora_alpha=16)),
    "gate and up swapped": ("plain", swapped),
    "half of the layers missing": ("plain", lambda each: keys_kept(each, lambda key: "s.0." in key or "s.1." in key)),
    "half of the layers not named": ("plain", lambda each: settings_changed(each, layers_to_transform=[0, 1])),
}
WEAKEST = ("alpha_pattern read as plain alpha", "half of the layers missing")


@pytest.mark.parametrize(
    ("fault", "dtype"), [*((fault, "float32") for fault in FAULTS), *((fault, "bfloat16") for fault in WEAKEST)]
)
def test_an_adapter_that_is_another_one_in_the_engine_stops_the_run(trained, tmp_path, fault, dtype):
    kind, made = FAULTS[fault]
    adapter = made(Path(shutil.copytree(trained[kind], tmp_path / "adapter")))
    with pytest.raises(
        UserError, match=r"trainer and transformers do not run the same adapter: .* nats per token apart"
    ):
        proven(adapter, dtype)


@pytest.mark.parametrize("kind", ["plain", "rslora", "patterns"])
def test_the_adapter_that_was_trained_passes_in_every_type(trained, kind):
    (found,) = proven(trained[kind])["compared"]
    assert (found["engines"], found["tokens"]) == (("trainer", "transformers"), 129)
    assert found["base"] < 1e-5 > found["adapter"]
    assert found["effect"] > 0.1
    (rounded,) = proven(trained[kind], "bfloat16")["compared"]
    assert 0 < rounded["adapter"] < TIMES_BASE * agreement.ROUNDING["bfloat16"] / 2
    assert abs(rounded["ratio"] - 1) < 0.1


@pytest.mark.parametrize("spread", [1e-5, 1e-3, 0.02, 0.2])
def test_rounding_alone_is_no_disagreement(tmp_path, spread):
    """Neither 16-bit weights nor an adapter merged into them, however strong or weak it is."""
    adapter = leave_record(save_adapter(tmp_path / "adapter", spread=spread))
    record = agreement.read(adapter)
    (exact,) = record.scores
    wide, narrow = (with_adapter(base_model(dtype), str(adapter)) for dtype in (torch.float32, torch.bfloat16))
    said = probes.trainer_scores(narrow, record.texts)
    merged = [probes._token_scores(each.merge_and_unload(), record.texts) for each in (wide, narrow)]
    for one, other in (
        (exact, said),
        (exact, Scores("rollouts", "float32", exact.base, merged[0])),
        (said, Scores("rollouts", "bfloat16", said.base, merged[1])),
    ):
        assert not agreement.compare(one, other).fails
    assert agreement.compare(exact, said).is_conclusive == (spread >= 0.2)


TWO = Scores("trainer", "float32", (-1.0, -2.0), (-0.5, -2.5))


@pytest.mark.parametrize(
    ("dtype", "base", "adapter", "fails"),
    [
        ("float32", (-1.0, -2.0), (-0.5, -2.5), False),
        ("float32", (-1.0, -2.0), (0.0, -3.0), True),  # twice the effect
        ("float32", (-1.0, -2.0), (-1.0, -2.0), True),  # none
        ("float32", (-1.0, -2.0), (-0.5, -2.46), False),  # under a tenth of the effect
        ("float32", (-1.2, -2.2), (-0.8, -2.9), False),  # another base, and the adapter no further off
        ("bfloat16", (-1.0, -2.0), (-0.4, -2.6), False),  # what the type's rounding explains
        ("bfloat16", (-1.0, -2.0), (0.0, -3.0), True),
    ],
)
def test_far_beyond_the_base_is_a_disagreement(dtype, base, adapter, fails):
    assert agreement.compare(TWO, Scores("vllm", dtype, base, adapter)).fails == fails


def test_a_run_stops_before_its_first_reply(trained, tmp_path):
    adapter = settings_changed(Path(shutil.copytree(trained["plain"], tmp_path / "adapter")), lora_alpha=16)
    config = configuration(limit=4, adapter=str(adapter), engine="transformers")
    run = Run.create(tmp_path / "run", config, "harness run")
    with pytest.raises(UserError, match=r"transformers shows 1\.5\d times the effect"):
        evaluate.evaluate(run, state_names(BOTH), str(adapter), True, None)
    assert run.completions("before") == []


def test_adapters_from_elsewhere_are_not_compared(tmp_path):
    found = proven(save_adapter(tmp_path / "adapter"))
    assert found == {"compared": [], "not_compared": {"trainer": "no probe.json beside the adapter"}}
    assert agreement.compare_with_training("a name at a server", lambda _: None)["compared"] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: "{",
        lambda record: [],
        lambda record: record | {"texts": []},
        lambda record: record | {"texts": [{"tokens": [1, 2], "start": 2}]},
        lambda record: record | {"texts": [{"tokens": ["x"], "start": 0}]},
        lambda record: record | {"scores": [record["scores"][0] | {"base": [0.5]}]},
        lambda record: record | {"scores": [record["scores"][0] | {"adapter": None}]},
    ],
)
def test_a_damaged_record_is_one_line(trained, tmp_path, damage):
    record = json.loads((trained["plain"] / agreement.FILE).read_text())
    damaged = damage(record)
    (tmp_path / agreement.FILE).write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
    with pytest.raises(UserError, match=r"probe\.json: .*(delete this file|cannot be read)"):
        agreement.read(tmp_path)


def test_a_whole_run_compares_its_trainer_with_its_engine(job):
    provenance = json.loads((job / "run.json").read_text())["provenance"]
    (found,) = provenance["after"]["agreement"]["compared"]
    assert found["engines"] == ["trainer", "transformers"]
    assert found["adapter"] < 1e-5 < found["effect"]
    assert provenance["train"]["frozen_weights"] == len(list(base_model().parameters()))
    assert "trainer and transformers agree on fixed texts" in (job / "report/report.md").read_text()


def adapted(dtype) -> PeftModel:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(base_model(dtype), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def test_a_base_that_moved_in_training_is_refused():
    model = adapted(torch.float32)
    before = frozen.checksums(model)
    frozen.check_unmoved(before, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += 1 if "lora_" in name else 0
    frozen.check_unmoved(before, model)
    weight = dict(model.named_parameters())["base_model.model.model.norm.weight"]
    weight.data[7] = torch.nextafter(weight.data[7], weight.data[7] + 1)
    with pytest.raises(UserError, match=r"the base itself changed in training \(1 of \d+ .*norm\.weight\)"):
        frozen.check_unmoved(before, model)


def test_merges_for_the_rollouts_leave_the_base_as_it_was():
    """In 16 bits PEFT's own unmerge_adapter() does not: TRL merges before each batch that its vLLM generates."""
    model = adapted(torch.bfloat16)
    before = frozen.checksums(model)
    frozen.restore_after_merges(model)
    with torch.no_grad():
        texts = [torch.arange(5, 30)[None]]
        with_it = model(texts[0]).logits
        model.merge_adapter()
        assert (model.base_model.model(texts[0]).logits - with_it).abs().max() < 0.5
        assert frozen.checksums(model) != before
        model.unmerge_adapter()
        assert torch.equal(model(texts[0]).logits, with_it)
    frozen.check_unmoved(before, model)
    plain = adapted(torch.bfloat16)
    plain.merge_adapter()
    plain.unmerge_adapter()
    with pytest.raises(UserError, match="the base itself changed"):
        frozen.check_unmoved(frozen.checksums(adapted(torch.bfloat16)), plain)
