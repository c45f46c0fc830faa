"""The embedded model: what it is, that it is the one that was measured, and that it leaves GRPO room."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import configuration

import baselines
from harness.evaluation import evaluate
from harness.models import loading
from harness.storage.run_folder import Run

TINY = Path(baselines.__file__).parent / "tiny"


def test_shipped_weights_are_the_measured_ones():
    kept, name = (TINY / "model.sha256").read_text().split()
    assert hashlib.sha256((TINY / name).read_bytes()).hexdigest() == kept
    assert not [file for file in TINY.rglob("*") if file.suffix in (".bin", ".pt", ".pth", ".pkl")]
    assert sum(file.stat().st_size for file in (TINY / "model").iterdir()) < 8e6


def test_architecture():
    config = json.loads((TINY / "model" / "config.json").read_text())
    assert config["architectures"] == ["Gemma3ForCausalLM"]
    assert config["head_dim"] >= 32
    assert set(config["layer_types"]) == {"sliding_attention", "full_attention"}


def test_tags_are_ordinary_tokens():
    from harness.parsing.named_formats import FORMATS

    tokenizer = loading.load_tokenizer("embedded")
    for tag in (tag for format in FORMATS.values() for tag in format.tags):
        ids = tokenizer(tag, add_special_tokens=False)["input_ids"]
        assert len(ids) == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == tag


@pytest.mark.parametrize("format", ["working-out", "think", "xml"])
def test_it_starts_where_a_base_model_starts(tmp_path, format):
    config = configuration(format=format, language="id")
    run = Run.create(tmp_path / "run", config, "harness eval")
    evaluate.evaluate(run, ("before",), None, True, None)
    side = run.evaluation("before")
    strict, right = side.metrics["format_strict"], side.metrics["accuracy_strict"]
    assert 0.35 <= strict.mean <= 0.60
    assert 0.25 <= side.metrics["language_ratio"].mean <= 0.45
    assert right.mean < right.mean / strict.mean - 0.2
    by_kind = {}
    for completion, score in zip(side.completions, side.scores, strict=True):
        by_kind.setdefault(completion.kind, []).append(score.scores["accuracy_flexible"])
    shares = {kind: sum(values) / len(values) for kind, values in by_kind.items()}
    assert shares["factory"] < 0.2
    assert shares["warehouses"] < 0.2
    assert sorted(shares.values())[len(shares) // 2] > 0.6
