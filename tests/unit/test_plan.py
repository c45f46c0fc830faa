import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import configuration
from huggingface_hub import constants
from planning import H200, LAPTOP, SMALL_GPU, earlier, plan
from safetensors.numpy import save_file

from harness.cli.plan import _trainer
from harness.configure import configure
from harness.models import checkpoints
from harness.plan.case import GIB, Machine, size_of, this_machine
from harness.storage.files import write_json
from harness.types import Comparison
from train import backends


def checkpoint(folder: Path, config: dict | None = None, **files: dict[str, tuple[int, ...]]) -> str:
    """A folder with tensors of these shapes in `NAME.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config or {})
    for name, shapes in files.items():
        tensors = {tensor: np.zeros(shape, np.float16) for tensor, shape in shapes.items()}
        save_file(tensors, folder / f"{name}.safetensors")
    return str(folder)


def test_starts_nothing_asks_nobody_and_calls_unknown_what_it_cannot_know(harness, tmp_path):
    done = harness("plan", "--model", "qwen3-8b", "--before-after", "--json", HF_ENDPOINT="http://127.0.0.1:9")
    made = json.loads(done.stdout)
    assert made["stages"] == ["before", "train-sft", "eval-sft", "train", "after", "report"]
    assert (made["problems"], made["detectable difference"], made["seconds"]["before"]) == ("unknown",) * 3
    assert made["seconds"].keys() == made["seconds from"].keys() == {*made["stages"]}
    assert made["parameters"] == "8.0 billion, by its name"
    assert list(made)[-1] == "settings"
    assert not list(tmp_path.iterdir())


def test_details_are_a_line_each(harness):
    done = harness("plan", "--before-after", "--detect", "0.05", "--details")
    lines = done.stdout.splitlines()
    assert "stages: before, train, after, report" in lines
    assert "  before = 9.7" in lines
    assert "  before = 4.6 s + 17 ms per reply, the default run's on two x86-64 cores (2026-11-29)" in lines
    assert [line for line in lines if line.startswith("problems needed: 1287 to see 5 pp (80 % power of ")]
    assert lines.index("settings:") > lines.index("seconds from:")


@pytest.mark.parametrize("width", ["80", "140"])
def test_as_text_a_plan_is_one_screen(harness, width):
    done = harness("plan", "--before-after", "--detect", "0.05", COLUMNS=width)
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= int(width)
    assert "1 min 8 s in all: before 10 s, train 47 s, after 10 s, report 2 s" in " ".join(done.stdout.split())


def test_a_plan_of_what_this_machine_refuses_is_shown_and_is_exit_2(harness):
    done = harness("plan", "--model", "qwen3-8b", "--before-after", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stdout.startswith("stages")
    assert "would refuse the run: Qwen/Qwen3-8B: 8.0 billion parameters need a GPU" in done.stderr
    assert harness("plan", "--model", "qwen3-8b", CUDA_VISIBLE_DEVICES="").returncode == 0


def test_settings_are_those_in_force_here(harness):
    made = json.loads(harness("plan", "--before-after", "--set", "weights=4-bit", "--json").stdout)
    assert made["replaced here"].keys() == {"weights", "rollouts"}
    assert (made["settings"]["weights"], made["settings"]["rollouts"]) == ("16-bit", "generate")
    assert made["settings"]["checkpoint"] == "embedded"


@pytest.mark.parametrize(
    ("model", "name", "replaced"),
    [("gemma3-4b", "unsloth", set()), ("qwen3-8b", "unsloth", set()), ("smollm2-135m", "trl", {"rollouts"})],
)
def test_the_trainer_follows_from_a_hub_id_that_was_never_downloaded(monkeypatch, model, name, replaced):
    monkeypatch.setattr(backends, "has_gpu", lambda: True)
    monkeypatch.setattr(backends, "find_spec", lambda package: package)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nowhere")
    config = configure(model, None, {}, [])
    made = _trainer(config, size_of(config).parameters or 0)
    assert made.name == name
    assert {*made.replaced} <= replaced


@pytest.mark.parametrize("detect", ["5", "0", "1e-8", "nan", "5pp"])
def test_detect_is_a_share(harness, detect):
    done = harness("plan", "--detect", detect)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--detect" in done.stderr


@pytest.mark.parametrize(
    ("id", "parameters"),
    [
        ("google/gemma-3-4b-it", "4.0 billion, by its name"),
        ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "8.0 billion, by its name"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "500.0 million, by its name"),
        ("HuggingFaceTB/SmolLM2-135M", "135.0 million, by its name"),
        ("Qwen/Qwen3-30B-A3B", "30.0 billion, by its name"),
        ("someone/model-4bit", "unknown"),
        ("google/gemma-3n-E4B-it", "unknown"),
        ("openai-community/gpt2", "unknown"),
    ],
)
def test_a_size_by_the_name(id, parameters):
    made = plan(configuration(model=id), machine=H200)
    assert made["parameters"] == parameters
    assert (made["memory"]["evaluation"] == "unknown") == (parameters == "unknown")


def test_a_size_out_of_the_files(tmp_path):
    shapes = {
        "model.language_model.layers.0.self_attn.q_proj.weight": (30, 20),
        "model.language_model.layers.0.mlp.down_proj.weight": (20, 40),
        "model.vision_tower.layers.0.self_attn.q_proj.weight": (10, 10),
    }
    whole = plan(configuration("lora_rank=2", model=checkpoint(tmp_path / "wrapper-7b", model=shapes)))
    assert whole["parameters"] == "0.0 million, counted in its files"
    adapter = 2 * (30 + 20 + 20 + 40) * 16 / 2**20
    assert f"weights + {adapter:.1f} MiB for the adapter" in whole["memory"]["training"]
    write_json(tmp_path / "wrapper-7b" / "model.safetensors.index.json", {"weight_map": {"a": "two.safetensors"}})
    assert plan(configuration(model=str(tmp_path / "wrapper-7b")))["parameters"] == "7.0 billion, by its name"


def test_the_gpu_is_the_one_that_torch_can_use(monkeypatch):
    assert str(Machine(2, 16 * GIB)) == "2 cores with 16.0 GiB; torch sees no GPU"
    card = SimpleNamespace(name="NVIDIA H200", total_memory=140 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert str(this_machine()).startswith("NVIDIA H200 with 140.0 GiB; ")


def test_the_embedded_adapter_is_as_large_as_the_one_that_is_trained():
    # 129,024 parameters, as the trainer counts them: a weight, a gradient and two moments each.
    memory = plan(configuration())["memory"]["training"]
    assert f"8.6 MiB of float32 weights + {129_024 * 16 / 2**20:.1f} MiB for the adapter" in memory


def test_a_quantized_checkpoint_takes_what_its_files_do(tmp_path):
    figures = {
        "hidden_size": 100, "num_attention_heads": 10, "intermediate_size": 1000, "num_hidden_layers": 10,
        "vocab_size": 1000, "quantization_config": {},
    }  # fmt: skip
    folder = checkpoint(tmp_path / "m", figures, model={"packed.weight": (1024, 1024)})
    made = plan(configuration(model=folder), machine=H200)
    assert made["parameters"] == "3.5 million, by its config.json"
    assert made["memory"]["evaluation"].startswith("2.0 MiB of 16-bit weights, of the 140.0 GiB here")


def test_the_hubs_cache_is_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert checkpoints.folder_here("me/mine") is None
    assert checkpoints.folder_here("no hub id!") is None
    snapshot = tmp_path / "models--me--mine" / "snapshots" / "abc"
    checkpoint(snapshot, model={"weight": (1000, 2000)})
    (tmp_path / "models--me--mine" / "refs").mkdir()
    (tmp_path / "models--me--mine" / "refs" / "main").write_text("abc")
    assert checkpoints.folder_here("me/mine") == snapshot
    assert plan(configuration(model="me/mine"))["parameters"] == "2.0 million, counted in its files"


@pytest.mark.parametrize(
    ("machine", "options", "expected"),
    [
        (LAPTOP, {}, "29.8 GiB of float32 weights: DOES NOT FIT into the 16.0 GiB here"),
        (LAPTOP, {"engine_args": {"dtype": "bfloat16"}}, "14.9 GiB of 16-bit weights, of the 16.0 GiB here"),
        (H200, {"engine_args": {"device": "cpu"}}, "29.8 GiB of float32 weights, of the 128.0 GiB here"),
        (H200, {}, "14.9 GiB of 16-bit weights, of the 140.0 GiB here; activations"),
        (SMALL_GPU, {"engine_args": {"gpu_memory_utilization": "0.8"}, "engine": "vllm"}, "utilization (0.8)"),
        (SMALL_GPU, {"engine_args": {"quantization": "fp8"}, "engine": "vllm"}, "weights, before quantization"),
        (H200, {"engine": "openai"}, "the server's"),
        (H200, {"engine": "scripted"}, "no model is loaded"),
    ],
)
def test_memory_of_an_evaluation(machine, options, expected):
    made = plan(configuration(model="qwen3-8b", **options), machine=machine)
    assert expected in made["memory"]["evaluation"]


@pytest.mark.parametrize(
    ("machine", "trainer", "settings", "expected"),
    [
        (LAPTOP, "trl", ("rollouts=generate",), "29.8 GiB of float32 weights + a small part for the adapter"),
        (H200, "unsloth", (), "vLLM's 98.0 GiB (gpu_memory_utilization) with 14.9 GiB of 16-bit weights"),
        (H200, "trl", ("gpu_memory_utilization=0.9",), "beside 14.9 GiB of 16-bit weights"),
        (H200, "trl", ("gpu_memory_utilization=0.95",), "DOES NOT FIT into the 140.0 GiB here"),
        (H200, "unsloth", ("gpu_memory_utilization=0.95",), "moments, of the 140.0 GiB here"),
        (SMALL_GPU, "unsloth", ("weights=4-bit",), "with 4.5 GiB of 4-bit weights"),
        (SMALL_GPU, "trl", ("launcher=torchrun", "rollouts=generate"), "moments, a process of the launcher's"),
    ],
)
def test_memory_of_a_training(machine, trainer, settings, expected):
    made = plan(configuration(*settings, model="qwen3-8b"), machine=machine, trainer=trainer)
    assert expected in made["memory"]["training"]


def test_what_was_measured_stands_beside_a_model_of_that_size():
    assert "16.8 GiB" in plan(configuration(model="gemma3-4b"))["memory"]["measured once"]
    assert "measured once" not in plan(configuration(model="qwen3-8b"))["memory"]


POWER = "80 % power of the exact McNemar test, corrected for 3 metrics (Holm), 30 %"


@pytest.mark.parametrize(
    ("options", "detect", "needed"),
    [
        (
            {},
            0.12,
            f"227 to see 12 pp ({POWER} of the answers changing, which is assumed)",
        ),
        ({}, 0.05, "which is assumed): more than the 300 that there are"),
        ({"limit": 200}, 0.12, "which is assumed): more than --limit 200"),
        (
            {},
            0.5,
            "50 % of the answers changing, the least that such a difference needs)",
        ),
        ({"model": "qwen3-8b"}, 0.05, f"1287 to see 5 pp ({POWER}"),
    ],
)
def test_problems_needed(options, detect, needed):
    made = plan(configuration(**options), detect=detect)["problems needed"]
    assert made.startswith(needed) or made.endswith(needed)


def test_a_few_problems_can_show_nothing():
    assert plan(configuration(limit=4))["detectable difference"].startswith("none")
    assert "problems needed" not in plan(configuration())


@pytest.mark.parametrize(
    ("flips", "options", "measured"),
    [
        ({"gained": 8, "lost": 2, "both": 60, "neither": 30}, {}, True),
        ({"gained": 8, "lost": 2, "both": 60, "neither": 30}, {"format": "xml"}, False),
        ({"gained": 1, "lost": 2, "both": 3, "neither": 4}, {}, False),
        ({"gained": 0, "lost": 0, "both": 60, "neither": 40}, {}, False),
    ],
)
def test_how_many_change_sides_is_taken_from_an_earlier_comparison(tmp_path, flips, options, measured):
    run = earlier(tmp_path / "old", {"before": 10.0}, **options)
    write_json(run.path / "comparison.json", Comparison({}, flips, {}, 0).as_dict())
    made = plan(configuration(), runs=tmp_path, detect=0.05)
    assumptions = f"10 % of the answers changing, as in {run.path})" if measured else "which is assumed)"
    assert made["detectable difference"].endswith(assumptions)
    assert ("430 to see" in made["problems needed"]) == measured
