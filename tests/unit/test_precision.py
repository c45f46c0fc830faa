"""In which dtype and with which weights a model is loaded, for machines that are not here."""

import json

import pytest
from conftest import configuration

from harness.engines.base_weights import evaluation_weights
from harness.errors import UserError
from harness.evaluation import evaluate
from harness.models import precision
from harness.models.precision import dtype_of
from harness.statistics import pairs
from harness.storage.run_folder import Run
from harness.types import Evaluation
from reports import run_view

CPU, AMPERE, TURING = None, True, False
DTYPES = [
    (CPU, "gemma3_text", None, "float32"),
    (CPU, "qwen3", "bfloat16", "bfloat16"),
    (CPU, "qwen3", "float16", "float16"),
    (AMPERE, "gemma3", None, "bfloat16"),
    (AMPERE, "qwen3", "half", "float16"),
    (AMPERE, "gemma3", "float", "float32"),
    (TURING, "qwen3", None, "float16"),
    (TURING, "llama", "float16", "float16"),
    (TURING, "gemma3", "float32", "float32"),
    (TURING, "qwen3_moe", None, "float16"),
]
REFUSED = [
    (CPU, "gemma3_text", "float16", "dtype=float16: not with a gemma3_text model .its numbers grow too large"),
    (AMPERE, "gemma3", "half", "dtype=half: not with a gemma3 model"),
    (AMPERE, "gemma2", "float16", "leave it out"),
    (TURING, "gemma3n", None, "needs bfloat16 .*older than Ampere.* give --engine-arg dtype=float32"),
    (TURING, "gpt_oss", None, "needs bfloat16"),
    (TURING, "llama", "bfloat16", "this GPU is older than Ampere and has none"),
]


@pytest.mark.parametrize(("gpu", "model_type", "asked", "dtype"), DTYPES)
def test_a_model_is_loaded_in_what_the_machine_and_it_take(gpu, model_type, asked, dtype):
    assert dtype_of(gpu, model_type, asked) == dtype


@pytest.mark.parametrize(("gpu", "model_type", "asked", "message"), REFUSED)
def test_a_dtype_that_cannot_be_is_refused_with_the_reason(gpu, model_type, asked, message):
    with pytest.raises(UserError, match=message):
        dtype_of(gpu, model_type, asked)


@pytest.mark.parametrize("model_type", ["gemma3", "qwen3_moe"])
def test_what_overflows_in_training_is_not_trained_in_float16(monkeypatch, model_type):
    monkeypatch.setattr(precision, "gpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "model_type", lambda checkpoint: model_type)
    with pytest.raises(UserError, match="older than Ampere, does not have: train it on another GPU"):
        precision.training_dtype(configuration())


def test_the_engine_refuses_what_its_model_cannot():
    with pytest.raises(UserError, match="dtype=float16: not with a gemma3_text model"):
        evaluate.open_engine(configuration(engine="transformers", engine_args={"dtype": "float16"}), None)


WEIGHTS = [
    (("weights=4-bit",), True, True, ("4-bit", "")),
    (("weights=4-bit", "eval_weights=16-bit"), True, True, ("16-bit", "")),
    (("eval_weights=4-bit",), True, True, ("4-bit", "")),
    (("weights=4-bit",), False, True, ("16-bit", "4-bit weights need a GPU")),
    (("weights=4-bit",), True, False, ("16-bit", "4-bit weights need bitsandbytes")),
    ((), True, True, ("16-bit", "")),
]


@pytest.mark.parametrize(("settings", "gpu", "library", "expected"), WEIGHTS)
def test_the_evaluations_weights_follow_the_trainings(monkeypatch, settings, gpu, library, expected):
    monkeypatch.setattr(precision, "find_spec", lambda name: library)
    assert evaluation_weights(configuration(*settings), gpu) == expected


def test_weights_on_a_cpu_beside_a_gpu_and_those_that_are_quantized_already(monkeypatch):
    monkeypatch.setattr(precision, "find_spec", lambda name: True)
    config = configuration("weights=4-bit", engine="transformers", engine_args={"device": "cpu"})
    assert evaluation_weights(config, True) == ("16-bit", "4-bit weights need a GPU")
    monkeypatch.setattr(precision.checkpoints, "model_config", lambda checkpoint: {"quantization_config": {}})
    assert evaluation_weights(configuration("weights=4-bit"), True) == ("as stored", "")


def side(name, used, trained, **provenance):
    return Evaluation(name, (), (), {}, provenance | {"weights": used}, {"weights": trained})


APART = [
    ([side("before", "4-bit", "4-bit"), side("after", "4-bit", "4-bit")], []),
    ([side("before", None, "4-bit"), side("after", "as stored", "4-bit")], []),
    (
        [side("before", "16-bit", "4-bit"), side("after", "16-bit", "4-bit")],
        ["before and after: evaluated on 16-bit weights, the recipe trains on weights = 4-bit: see eval_weights"],
    ),
    (
        [side("before", "16-bit", "4-bit", replaced={"weights": "no GPU"}), side("after", "fp8", "16-bit")],
        ["before: evaluated on 16-bit weights (no GPU), the recipe trains on weights = 4-bit: see eval_weights",
         "after: evaluated on fp8 weights, the recipe trains on weights = 16-bit: see eval_weights"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sides", "said"), APART)
def test_another_precision_than_the_trainings_is_said(sides, said):
    assert pairs.other_weights((each.name, each.settings, each.provenance) for each in sides) == said


def test_the_report_says_that_the_base_was_evaluated_in_another_precision(tmp_path, capsys):
    config = configuration("weights=4-bit", "max_tokens=2", limit=1, engine="transformers")
    run = Run.create(tmp_path / "run", config, "harness eval")
    evaluate.evaluate(run, ["before"], None, False, None)
    assert "weights 4-bit -> 16-bit: 4-bit weights need a GPU" in capsys.readouterr().err
    assert json.loads((tmp_path / "run/run.json").read_text())["provenance"]["before"]["weights"] == "16-bit"
    (warning,) = run_view.build(run, run.evaluations()).warnings
    assert "evaluated on 16-bit weights (4-bit -> 16-bit: 4-bit weights need a GPU)" in warning
