"""ModelScope's own package against a server of ours: models and datasets by its ids, and what is said without them."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import address, serving, write_jsonl
from network import ModelScope

from harness.models import checkpoints

pytest.importorskip("modelscope")
# A port that nothing listens on.
NOBODY = "http://127.0.0.1:9"
FROM_THERE = ("eval", "--hub", "modelscope", "--recipe", "tiny", "--set", "max_tokens=4")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """ModelScope with what a recipe and a named dataset ask for there, and a checkpoint that has only pickles."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    problems, odd = tmp_path / "problems", tmp_path / "odd"
    for folder in (problems / "main", problems / "socratic"):
        folder.mkdir(parents=True)
    for split in ("train", "test"):
        rows = [{"question": f"What is {n} + 1 ({split})?", "answer": f"#### {n + 1}"} for n in range(3)]
        write_jsonl(problems / f"main/{split}.jsonl", rows)
        write_jsonl(problems / f"socratic/{split}.jsonl", [{"question": "Why?", "answer": "#### 0"}])
    (problems / "pickled.pkl").write_bytes(b"\x80")
    model = Path(checkpoints.locate("embedded"))
    shutil.copytree(model, odd, ignore=shutil.ignore_patterns("*.safetensors"))
    (odd / "pytorch_model.bin").write_bytes(b"\x80")
    models = {"LLM-Research/gemma-3-4b-it": model, "me/odd": odd}
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    with serving(ModelScope(models, {"AI-ModelScope/gsm8k": problems})) as server:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", address(server))
        yield server


def test_model_and_data_by_the_hubs_names_once(harness, server, tmp_path):
    words = (*FROM_THERE, "--model", "gemma3-4b", "--dataset", "gsm8k")
    done = harness(*words, "--output", "r")
    assert done.returncode == 0, done.stderr
    assert {path.partition("/repo")[0] for path in server.seen} >= {
        "models/LLM-Research/gemma-3-4b-it", "datasets/AI-ModelScope/gsm8k"
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "r/before/completions.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == [f"What is {n} + 1 (test)?" for n in range(3)]
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["configuration"]["checkpoint"] == "modelscope:google/gemma-3-4b-it"
    assert record["provenance"]["before"]["checkpoint"] == checkpoints.fingerprint("embedded")
    assert not list((tmp_path / "modelscope").rglob("*.pkl"))

    again = harness(*words, "--output", "s", MODELSCOPE_ENDPOINT=NOBODY)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "s/before/completions.jsonl").read_text() == (
        tmp_path / "r/before/completions.jsonl"
    ).read_text()


def test_the_base_of_an_adapter_that_is_exported(harness, server, adapter, tmp_path):
    words = ("export", "--to", "lora", "--adapter", str(adapter), "--output", "x", "--hub", "modelscope")
    done = harness(*words, "--model", "gemma3-4b")
    assert done.returncode == 0, done.stderr
    assert any(path.startswith("models/LLM-Research/gemma-3-4b-it/") for path in server.seen)
    settings = json.loads((tmp_path / "x/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "LLM-Research/gemma-3-4b-it"
    assert "Base: LLM-Research/gemma-3-4b-it" in (tmp_path / "x/README.md").read_text()

    missing = harness(*words, "--model", "me/none")
    assert missing.returncode == 2
    assert "harness: me/none: cannot download this model from ModelScope (" in missing.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("--model", "me/none"), {}, "me/none: cannot download this model from ModelScope ("),
        (("--model", "me/none"), {"MODELSCOPE_ENDPOINT": NOBODY}, "Connection failed"),
        (("--model", "me/odd"), {}, "no .safetensors file there: save the weights as safetensors"),
        (("--dataset", "me/none"), {}, "me/none: cannot download this dataset from ModelScope ("),
        (("--dataset", "dapo"), {}, "look its id up on modelscope.cn, set MODELSCOPE_API_TOKEN if it is private, give"),
        (("--set", "hub=mirror"), {}, "recipe key hub = 'mirror': input should be 'huggingface' or 'modelscope'"),
    ],
)
def test_what_is_not_there_is_a_line(harness, server, words, environment, said):
    done = harness(*FROM_THERE, *words, **environment)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("harness: ")
    assert said in last
    assert "Traceback" not in done.stderr
