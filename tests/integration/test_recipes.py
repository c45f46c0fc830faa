"""Every recipe end to end on a small checkpoint of its own architecture, random weights, with the real libraries."""

import json

import pytest
from conftest import write_jsonl

from baselines.peers.random_checkpoint import make_checkpoint

SMALL = (
    "--limit=4", "--set=steps=2", "--set=save_steps=1", "--set=eval_every=1", "--set=eval_problems=4",
    "--set=max_tokens=16", "--set=max_completion=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for architecture in ("gemma3", "qwen3"):
        make_checkpoint(folder / architecture, architecture, small=True)
    return folder


@pytest.fixture
def sums(tmp_path):
    """A copy of DAPO-Math as a user may have it."""
    rows = [{"prompt": f"What is {each} plus {3 * each}?", "solution": str(4 * each)} for each in range(80)]
    return write_jsonl(tmp_path / "sums.jsonl", rows)


@pytest.fixture
def worked(tmp_path):
    """A copy of OpenMathReasoning-mini: every fifth answer is no number."""
    rows = [
        {
            "problem": f"What is {each} times 7?",
            "generated_solution": f"<think>\nSeven times {each} is {7 * each}.\n</think>",
            "expected_answer": str(7 * each) if each % 5 else "x + 1",
        }
        for each in range(20)
    ]
    return write_jsonl(tmp_path / "worked.jsonl", rows)


def test_qwen3_warms_up_with_its_own_template(harness, checkpoints, sums, worked, tmp_path):
    done = harness(
        "run", "--model", checkpoints / "qwen3", "--recipe", "qwen3-8b", "--before-after", "--data", sums,
        "--set", f"sft_data={worked}", "--set", "sft_epochs=0.5", *SMALL, "--output", "r", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "optimizer adamw_8bit -> adamw_torch" in done.stderr
    assert list(json.loads(done.stdout.strip().split("\n")[-1])["metrics"]) == ["before", "sft", "after"]
    reply = json.loads((tmp_path / "r/after/completions.jsonl").read_text().split("\n")[0])
    assert reply["prefix"] == "<start_working_out>"
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["provenance"]["warm-up"]["solutions"] == 16
    comparison = json.loads((tmp_path / "r/comparison.json").read_text())
    assert [(each["before"], each["after"]) for each in comparison["others"]] == [("before", "sft"), ("sft", "after")]
    effective = json.loads((tmp_path / "r/train/effective_config.json").read_text())
    assert effective["replaced"].keys() == {"optimizer", "rollouts", "gradient_checkpointing"}
    assert (effective["arguments"]["beta"], effective["arguments"]["loss_type"]) == (0.04, "grpo")
    assert (effective["lora"]["r"], effective["lora"]["lora_alpha"]) == (32, 64)
    page = (tmp_path / "r/report/index.html").read_text()
    assert "What each stage did" in page
    assert "before → sft" in page


def test_skip_sft(harness, checkpoints, sums):
    done = harness(
        "plan",
        "--model",
        checkpoints / "qwen3",
        "--recipe",
        "qwen3-8b",
        "--before-after",
        "--data",
        sums,
        "--skip-sft",
        "--details",
    )
    assert "stages: before, train, after, report" in done.stdout
    done = harness(
        "plan", "--model", checkpoints / "qwen3", "--recipe", "qwen3-8b", "--before-after", "--data", sums, "--details"
    )
    assert "stages: before, train-sft, eval-sft, train, after, report" in done.stdout


def test_deepseek_reasons_in_indonesian(harness, checkpoints, sums, tmp_path):
    done = harness(
        "train", "--model", checkpoints / "qwen3", "--recipe", "deepseek-r1-qwen3-8b", "--data", sums, *SMALL,
        "--set", "variant=tutorial", "--set", "generations=16", "--output", "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "weights 4-bit -> 16-bit" in done.stderr
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["configuration"]["language"] == "id"
    train = record["provenance"]["train"]
    assert train["max_prompt"] < 200
    rollout = json.loads((tmp_path / "r/train/rollouts.jsonl").read_text().split("\n")[0])
    assert rollout["rewards"]["format_and_language_reward_func"] in (5, -3, -5)


@pytest.mark.parametrize(("recipe", "format"), [("gemma3-4b", "working-out"), ("gemma3-4b-xml", "xml")])
def test_gemma3_trains_the_language_layers_alone(harness, checkpoints, worked, sums, tmp_path, recipe, format):
    done = harness(
        "train", "--model", checkpoints / "gemma3", "--recipe", recipe, "--dataset", sums, *SMALL,
        "--set", f"sft_dataset={worked}", "--set", "sft_epochs=0.2", "--output", "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r/run.json").read_text())["configuration"]["format"] == format
    from safetensors import safe_open

    with safe_open(tmp_path / "r/train/adapter/adapter_model.safetensors", framework="numpy") as file:
        names = list(file.keys())
    assert names
    assert all("language_model" in name and "vision" not in name for name in names)
    assert not [file for file in (tmp_path / "r/train/adapter").iterdir() if file.suffix in (".bin", ".pt")]
