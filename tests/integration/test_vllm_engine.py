"""vLLM for real, on its CPU build: in this process, and as a server that the openai engine asks."""

import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import configuration, save_adapter

from harness.data import datasets
from harness.engines import PROBE_CONTINUATION, agreement
from harness.errors import UserError
from harness.evaluation import evaluate, prompts
from harness.evaluation.adapter_checks import check_adapter
from harness.models import checkpoints

LoRARequest = pytest.importorskip("vllm.lora.request", reason="no vLLM here: tox -e vllm tests it").LoRARequest

# One vLLM of this file is compiled, the fixture `engine`.
EAGER = ("--engine-arg", "enforce_eager=true")
# Two of them share the machine.
SHARE = "0.2"
PROBLEMS = 60
# Logits this close are put in one order or the other by the order of a sum in float32.
TIE = 1e-3


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return save_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def engine(adapter):
    engine = open_engine("vllm", str(adapter), gpu_memory_utilization=SHARE)
    engine.load()
    yield engine
    engine.engine.engine_core.shutdown()


@pytest.fixture(scope="session")
def rollouts():
    """A second vLLM in this process. Its end takes what both share with it, so it lasts longer than `engine`."""
    from vllm import LLM

    return LLM(
        checkpoints.locate("embedded"),
        dtype="float32",
        enforce_eager=True,
        block_size=128,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=8,
        gpu_memory_utilization=float(SHARE) / 2,
        # What it would find beside this process's other vLLM.
        kv_cache_memory_bytes=2**27,
    )


@pytest.fixture(scope="module")
def address(adapter):
    """A server of vLLM's own, with the embedded model as `tiny` and the adapter as `lora`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `vllm serve` runs; the CPU build's package lacks the metadata that the command itself asks for.
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoints.locate("embedded"),
        "--served-model-name", "tiny", "--enable-lora", "--lora-modules", f"lora={adapter}", "--max-lora-rank", "8",
        "--max-loras", "2", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--block-size", "128",
        "--gpu-memory-utilization", SHARE, "--enforce-eager",
    ]  # fmt: skip
    environment = os.environ | {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    for _ in range(180):
        try:
            urllib.request.urlopen(f"{base}/health", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, "the server ended"
            time.sleep(1)
    yield f"{base}/v1"
    server.terminate()
    server.wait(60)


def open_engine(name, adapter, **arguments):
    return evaluate.open_engine(configuration(engine=name, engine_args=arguments), adapter)


def requests_of(engine, config, *sides):
    dataset = datasets.evaluation_problems(config)
    return [each for adapted in sides for each in prompts.requests(config, dataset, engine, adapted)]


def draw(engine, config, *sides):
    """Every (request, completion) of the sides."""
    wanted = requests_of(engine, config, *sides)
    drawn = [pair for batch in engine.generate(wanted, frozenset(), config.sampling) for pair in batch]
    assert {request.key for request, _ in drawn} == {request.key for request in wanted}
    assert len(drawn) == len(wanted)
    return drawn


def both_sides(engine):
    """Every greedy reply by (adapted, problem, index)."""
    config = configuration("temperature=0", limit=PROBLEMS)
    return {request.key: completion for request, completion in draw(engine, config, False, True)}


@pytest.fixture(scope="module")
def drawn(engine):
    return both_sides(engine)


@pytest.fixture(scope="module")
def reference(adapter):
    return open_engine("transformers", str(adapter))


@pytest.fixture(scope="module")
def expected(reference):
    return both_sides(reference)


def margin(engine, prompt: str, text: str, other: str) -> float:
    """How far apart the two best logits are at the first token in which two replies differ."""
    import torch

    ids = [engine.tokenizer(prompt + each, add_special_tokens=False)["input_ids"] for each in (text, other)]
    same = next(place for place, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
    with torch.inference_mode():
        best = engine.model(torch.tensor([ids[0][:same]])).logits[0, -1].topk(2).values
    return float(best[0] - best[1])


def assert_same_but_for_ties(reference, expected, drawn):
    """The same greedy replies, save where the model hardly prefers one token to the next."""
    assert drawn.keys() == expected.keys()
    differing = [key for key in drawn if drawn[key].text != expected[key].text]
    assert len(differing) <= len(drawn) / 20
    wanted = requests_of(reference, configuration(limit=PROBLEMS), False, True)
    prompts = {each.key: each.prompt for each in wanted}
    for key in differing:
        with reference._adapter_on(key[0]):
            assert margin(reference, prompts[key], expected[key].text, drawn[key].text) < TIE
    same = drawn.keys() - differing
    assert {key: drawn[key].n_tokens for key in same} == {key: expected[key].n_tokens for key in same}
    assert {key: drawn[key].finish_reason for key in same} == {key: expected[key].finish_reason for key in same}


def test_vllm_replies_as_transformers_does(reference, expected, drawn):
    assert_same_but_for_ties(reference, expected, drawn)
    sides = [{key[1:]: each.text for key, each in drawn.items() if key[0] == adapted} for adapted in (False, True)]
    assert sides[0] != sides[1]


@pytest.mark.parametrize("rendered", ["by the server", "here"])
def test_a_server_replies_as_transformers_does(reference, expected, address, rendered):
    arguments = {"base_url": address, "model": "tiny"}
    if rendered == "here":
        arguments["tokenizer"] = checkpoints.locate("embedded")
    served = open_engine("openai", "lora", **arguments)
    assert_same_but_for_ties(reference, expected, both_sides(served))


def test_the_adapter_acts_the_same_in_every_engine(reference, engine, address):
    config = configuration(limit=2)
    effects = [
        each.adapter_effect(requests_of(each, config, False))
        for each in (reference, engine, open_engine("openai", "lora", base_url=address, model="tiny"))
    ]
    assert {effect.evidence for effect in effects} == {"log-probabilities"}
    assert all(effect.acts and effect.noise < 1e-4 for effect in effects)
    assert abs(effects[0].difference - effects[1].difference) < 0.01, PROBE_CONTINUATION


def test_trainer_rollouts_and_engine_run_the_same_adapter(reference, engine, rollouts, adapter):
    """The rollouts' vLLM as Unsloth has it, which is given the adapter: TRL's way into the weights needs a GPU."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from train import probes

    texts = probes.fixed_texts(configuration(), engine.tokenizer)
    base = AutoModelForCausalLM.from_pretrained(checkpoints.locate("embedded"), dtype="float32")
    unsloth = SimpleNamespace(
        vllm_engine=rollouts, load_lora=lambda name, load_tensors: LoRARequest(name, 1, str(adapter))
    )
    scores = [
        probes.trainer_scores(PeftModel.from_pretrained(base, str(adapter)), texts),
        probes.unsloth_scores(SimpleNamespace(model=unsloth), texts),
        reference.score(texts),
        engine.score(texts),
    ]
    for one, other in itertools.combinations(scores, 2):
        found = agreement.compare(one, other)
        assert max(found.base, found.adapter) < 1e-4 < found.effect
        assert abs(found.ratio - 1) < 1e-3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "lora_only"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [5]}, "it ignores trainable_token_indices"),
        ({"fan_in_fan_out": True}, "it ignores fan_in_fan_out"),
    ],
)
def test_what_vllm_does_not_apply_is_refused_before_it_starts(tmp_path, changes, why):
    folder = save_adapter(tmp_path / "adapter")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | changes))
    with pytest.raises(UserError, match=f"vLLM cannot apply it .*{why}.*: --engine transformers can, or merge it"):
        open_engine("vllm", str(folder))


def test_greedy_replies_repeat(engine, drawn):
    again = both_sides(engine)
    assert {key: each.text for key, each in again.items()} == {key: each.text for key, each in drawn.items()}


def test_replies_are_seeded_by_their_place(engine):
    """As far as the company in a batch leaves the last bits alone."""
    config = configuration("max_tokens=30", limit=20, samples=2)
    first = {request.key: completion.text for request, completion in draw(engine, config, False)}
    wanted = requests_of(engine, config, False)
    done = {request.key for request in wanted[::3]}
    again = [pair for batch in engine.generate(wanted, done, config.sampling) for pair in batch]
    assert {request.key for request, _ in again} == first.keys() - done
    assert sum(completion.text == first[request.key] for request, completion in again) >= len(again) - 1
    assert len({*first.values()}) > 20
    alone = engine.reply_to(wanted[0], config.sampling, lambda text: None)
    assert alone.text == first[wanted[0].key]


def test_several_replies_to_a_problem_differ_and_limits_hold(engine):
    config = configuration("max_tokens=30", limit=10, samples=3)
    drawn = draw(engine, config, True)
    assert len({completion.text for _, completion in drawn}) > 12
    assert all((each.finish_reason == "length") == (each.n_tokens == 30) for _, each in drawn)


def test_several_greedy_replies_are_the_same(engine):
    config = configuration("max_tokens=10", "temperature=0", limit=2, samples=3)
    drawn = draw(engine, config, False)
    assert len(drawn) == 6
    assert len({completion.text for _, completion in drawn}) <= 2


def test_a_run_with_an_adapter(program, adapter):
    done = program("run", "--engine", "vllm", *EAGER, "--engine-arg", f"gpu_memory_utilization={SHARE}", "--adapter",
                   str(adapter), "--limit", "20", "--output", "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "check passed: the adapter changes the model's output" in done.stderr
    for side in ("before", "after"):
        assert len(Path(f"out/{side}/completions.jsonl").read_text().splitlines()) == 20
    record = json.loads(Path("out/run.json").read_text())
    assert record["provenance"]["after"]["adapter_effect"]["leak"] < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_lora_rank": "auto"}, "give a whole number"),
        ({"max_num_seqs": "many"}, "max_num_seqs=many: give a whole number of at least 1"),
        ({"max_num_seqs": "0"}, "max_num_seqs=0: give a whole number of at least 1"),
        ({"max_num_seqs": "1.5"}, "max_num_seqs=1.5: give a whole number of at least 1"),
        ({"tensor_parallel_size": "two"}, "tensor_parallel_size=two: give a whole number of at least 1"),
        ({"max_lora_rank": "2"}, "has rank 4: leave the argument out"),
        ({"max_modellen": "64"}, "did you mean 'max_model_len'"),
        ({"data_parallel_rank": "1"}, "give data_parallel_size=N alone"),
        ({"dtype": "half"}, "not with a gemma3_text model"),
    ],
)
def test_arguments_that_cannot_be_are_named(adapter, arguments, message):
    with pytest.raises(UserError, match=message):
        open_engine("vllm", str(adapter), **arguments)


def test_a_rank_over_what_vllm_has_room_for_is_named(tmp_path):
    wide = save_adapter(tmp_path / "wide", rank=600)
    with pytest.raises(UserError, match="rank 600 is over vLLM's 512"):
        open_engine("vllm", str(wide))


def test_too_little_memory_names_the_option(program):
    done = program("eval", "--engine", "vllm", *EAGER, "--engine-arg", "gpu_memory_utilization=0.0001", "--limit", "2")
    assert done.returncode == 2
    assert "lower --engine-arg" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr + done.stdout


def test_adapters_that_do_nothing_or_too_much_are_refused(engine, tmp_path):
    """The CPU build hands the adapter in the last of vLLM's two slots to the base's requests."""
    config = configuration(limit=2)
    wanted = requests_of(engine, config, True)
    first = engine.lora
    assert check_adapter(config, first.lora_path, engine, wanted, quiet=True)["leak"] < 0.01
    engine.lora = LoRARequest("inert", 2, str(save_adapter(tmp_path / "inert", spread=0.0)))
    with pytest.raises(UserError, match="lora_B are zero"):
        check_adapter(config, str(tmp_path / "inert"), engine, wanted, quiet=True)
    engine.lora = first
    assert check_adapter(config, first.lora_path, engine, wanted, quiet=True)["leak"] < 0.01
    engine.lora = LoRARequest("another", 3, str(save_adapter(tmp_path / "another", spread=0.03)))
    with pytest.raises(UserError, match="where both share a batch"):
        check_adapter(config, engine.lora.lora_path, engine, wanted, quiet=True)


def test_a_prompt_that_is_too_long_is_left_out_or_named(engine, monkeypatch):
    config = configuration(limit=1)
    (request,) = requests_of(engine, config, False)
    long = dataclasses.replace(request, prompt=request.prompt * 100)
    ((_, reply),) = [each for batch in engine.generate([long], frozenset(), config.sampling) for each in batch]
    assert reply.is_unasked
    # What the model would read, but an argument keeps it from.
    monkeypatch.setattr(engine, "context", 10**6)
    with pytest.raises(UserError, match="raise --engine-arg max_model_len"):
        list(engine.generate([long], frozenset(), config.sampling))


def test_what_breaks_down_half_way_says_so(engine, monkeypatch):
    config = configuration(limit=40)
    drawing = engine.generate(requests_of(engine, config, False), frozenset(), config.sampling)
    assert next(drawing)

    def step() -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(engine.engine, "step", step)
    with pytest.raises(UserError, match=r"broke down: .*lower --engine-arg gpu_memory_utilization"):
        list(drawing)
    monkeypatch.undo()
    while engine.engine.has_unfinished_requests():
        engine.engine.step()


def test_every_end_of_the_checkpoint_ends_a_reply_and_stays_out_of_it(engine, address, monkeypatch):
    """In this process and from a server: each request says so, as the template's end is in no file that vLLM reads."""
    config = configuration(engine="vllm", limit=4)
    server = open_engine("openai", "lora", base_url=address, model="tiny", tokenizer=checkpoints.locate("embedded"))
    ordinary = engine.tokenizer.convert_tokens_to_ids("<end_working_out>")
    assert ordinary not in engine.tokenizer.all_special_ids
    for each in (engine, server):
        monkeypatch.setattr(each, "ends", [ordinary, *each.ends])
        requests = requests_of(each, config, False)
        for batch in each.generate(requests, frozenset(), config.sampling):
            for _, completion in batch:
                assert completion.finish_reason == "stop"
                assert "<start_working_out>" in completion.text
                assert "<end_working_out>" not in completion.text
