"""Engines that run out of memory: one line that says what to lower, and what was drawn is there to go on from."""

import re
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from conftest import configuration
from transformers import AutoModelForCausalLM

from harness.cli import exit_code_of
from harness.engines import ENGINES, decoding
from harness.evaluation import evaluate
from harness.storage.run_folder import Run

ON_CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")
ON_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")
SHORT = [ON_CUDA, ON_CPU, MemoryError(), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")]
NOT_SHORT = RuntimeError("CUDA error: an illegal memory access was encountered")


def evaluation(run: Run) -> int:
    return exit_code_of(lambda: evaluate.evaluate(run, ["before"], None, True, None))


def raises_from(call: int, error: Exception, original):
    """`original`, and `error` from its so many-th call on."""
    calls = []

    def called(*arguments, **settings):
        calls.append(1)
        if len(calls) >= call:
            raise error
        return original(*arguments, **settings)

    return called


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit(tmp_path, monkeypatch, capsys, error):
    config = configuration("max_tokens=8", limit=6, engine="transformers", engine_args={"batch_size": "3"})
    run = Run.create(tmp_path / "run", config, "harness eval")
    with monkeypatch.context() as short:
        short.setattr(decoding, "decode", raises_from(2, error, decoding.decode))
        assert evaluation(run) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "a batch of 3 does not fit into memory (cpu): lower --engine-arg batch_size" in said
    journal = run.path / "before" / "completions.jsonl"
    kept = journal.read_bytes()
    assert kept.count(b"\n") == 3
    assert evaluation(run) == 0
    assert journal.read_bytes().startswith(kept)
    assert len(run.completions("before")) == 6


def test_a_smaller_batch_goes_on_with_what_is_drawn_and_says_so(tmp_path, monkeypatch, harness):
    """What the line of a batch that does not fit advises."""
    config = configuration("max_tokens=8", limit=6, engine="transformers", engine_args={"batch_size": "3"})
    run = Run.create(tmp_path / config.folder_name, config, "harness eval")
    with monkeypatch.context() as short:
        short.setattr(decoding, "decode", raises_from(2, ON_CUDA, decoding.decode))
        assert evaluation(run) == 2
    journal = run.path / "before" / "completions.jsonl"
    kept = journal.read_bytes()
    run.lock_file = None  # the command below locks it
    done = harness(
        "run", "--limit", "6", "--engine", "transformers", "--engine-arg", "batch_size=2", "--set", "max_tokens=8",
        "--output", run.path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert journal.read_bytes().startswith(kept)
    assert len(run.completions("before")) == 6
    provenance = run.record.provenance["before"]
    assert provenance["batch_size"] == 2
    assert provenance["earlier_paces"] == [{"replies": 3, "arguments": {"batch_size": 3}}]
    assert (
        r"3 of the replies were generated with batch\_size = 3, before" in (run.path / "report/report.md").read_text()
    )
    assert not [*(tmp_path / "cache").rglob("*.json")]
    assert configuration(engine_args={"batch_size": "2"}).folder_name == configuration().folder_name


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_a_model_that_does_not_fit(tmp_path, monkeypatch, capsys, error):
    run = Run.create(tmp_path / "run", configuration(limit=2, engine="transformers"), "harness eval")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", raises_from(1, error, None))
    assert evaluation(run) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "the model does not fit into memory (cpu): give --engine-arg dtype=bfloat16" in said


def test_another_fault_of_a_library_is_no_want_of_memory(tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", configuration(limit=2, engine="transformers"), "harness eval")
    monkeypatch.setattr(decoding, "decode", raises_from(1, NOT_SHORT, None))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        evaluation(run)


class EngineDeadError(Exception):
    """As vLLM's class is called."""


class StandIn:
    """vLLM at the boundary: `starting` and `stepping` are what it raises, the latter at the second step."""

    starting: Exception | None = None
    stepping: Exception | None = None
    last_words = ""

    def __init__(self, **settings):
        if StandIn.starting:
            raise StandIn.starting
        # A process of vLLM's own inherits this stderr and says its last words there later.
        words = ["-c", f"import sys, time; sys.stdin.read(); print({StandIn.last_words!r}, file=sys.stderr)"]
        self.worker = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE)
        self.llm_engine, self.waiting, self.steps = self, [], 0
        self.engine_core = SimpleNamespace(shutdown=lambda: None)

    def add_request(self, name, prompt, parameters, lora_request=None):
        self.waiting.append(name)

    def has_unfinished_requests(self):
        return bool(self.waiting)

    def step(self):
        self.steps += 1
        if self.steps > 1 and StandIn.stepping:
            self.worker.communicate()
            raise StandIn.stepping
        reply = SimpleNamespace(token_ids=[5, 6], finish_reason="length")
        return [SimpleNamespace(request_id=self.waiting.pop(0), finished=True, outputs=[reply])]


@pytest.fixture
def vllm(monkeypatch):
    """The engine on a stand-in for vLLM, whether or not that is installed."""
    named = {
        "vllm": ("LLM", "CompletionOutput", "EngineArgs", "LLMEngine", "RequestOutput", "SamplingParams"),
        "vllm.config": (),
        "vllm.config.lora": ("LoRAConfig",),
        "vllm.exceptions": ("VLLMValidationError",),
        "vllm.lora": (),
        "vllm.lora.peft_helper": ("PEFTHelper",),
        "vllm.lora.request": ("LoRARequest",),
        "vllm.platforms": ("current_platform",),
        "vllm.sampling_params": ("RequestOutputKind",),
    }
    for name, classes in named.items():
        module = ModuleType(name)
        for each in classes:
            setattr(module, each, type(each, (Exception,), {"FINAL_ONLY": 1, "DELTA": 2}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["vllm"].LLM = StandIn
    sys.modules["vllm"].SamplingParams = SimpleNamespace
    sys.modules["vllm.platforms"].current_platform = SimpleNamespace(
        is_cuda_alike=lambda: False, get_device_name=lambda: "stand-in"
    )
    sys.modules["vllm"].EngineArgs.__dataclass_fields__ = {}
    ours = ("harness.engines.vllm", "harness.engines.vllm_settings", "harness.engines.vllm_adapters")
    for name in ours:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(ENGINES, "vllm", "harness.engines.vllm:VllmEngine")
    yield
    monkeypatch.undo()
    for name in ours:
        sys.modules.pop(name, None)


OPTIONS = (
    "--engine-arg gpu_memory_utilization or lower max_num_seqs, and what is generated is kept, or lower max_model_len"
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired GPU memory "
                    "utilization (0.9, 71.3 GiB). Decrease GPU memory utilization or reduce what others use."),
         f"cannot start: Free memory on device .*: lower {OPTIONS}"),
        (ValueError("No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
                    "initializing the engine (this flag also controls CPU memory reservation)."),
         f"cannot start: No available memory .*: raise {OPTIONS}"),
        (ValueError("To serve at least one request with the model's max seq len (131072), (17.00 GiB KV cache is "
                    "needed, which is larger than the available KV cache memory (2.21 GiB). Based on the available "
                    "memory, the estimated maximum model length is 17024. Try increasing `gpu_memory_utilization` "
                    "(which also controls CPU memory on the CPU backend) or decreasing `max_model_len`."),
         f"cannot start: To serve at least .*: raise {OPTIONS}"),
        (RuntimeError("Available memory on node 0 (16.45/18.71 GiB) on kv cache allocation is less than requested "
                      "memory for kv (-0.92/0.0 GiB). Reduce CPU memory used by other processes."),
         f"cannot start: Available memory on node .*: lower {OPTIONS}"),
        (ON_CUDA, f"cannot start: CUDA out of memory.*: lower {OPTIONS}"),
        (MemoryError(), f"cannot start: out of memory: lower {OPTIONS}"),
        (NOT_SHORT, "cannot start: CUDA error: an illegal .*: fix the --engine-arg that it names"),
        (RuntimeError(), "cannot start: RuntimeError: fix the --engine-arg that it names"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_vllm_that_cannot_start(tmp_path, monkeypatch, capsys, vllm, error, line):
    run = Run.create(tmp_path / "run", configuration(limit=2, engine="vllm"), "harness eval")
    monkeypatch.setattr(StandIn, "starting", error)
    assert evaluation(run) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(line, said), said


@pytest.mark.parametrize(
    ("error", "last_words", "line"),
    [
        (ON_CUDA, "", f"broke down: CUDA out of memory.*: lower {OPTIONS}"),
        (EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause."),
         "(EngineCore pid=7) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
         f"broke down: OutOfMemoryError: CUDA out of memory.*: lower {OPTIONS}"),
        (EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause."), "",
         "broke down: EngineCore encountered an issue.*: the same command continues from here"),
    ],
)  # fmt: skip
def test_vllm_that_breaks_down_half_way(tmp_path, monkeypatch, capsys, vllm, error, last_words, line):
    run = Run.create(tmp_path / "run", configuration(limit=4, engine="vllm"), "harness eval")
    monkeypatch.setattr(StandIn, "last_words", last_words)
    with monkeypatch.context() as short:
        short.setattr(StandIn, "stepping", error)
        assert evaluation(run) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(line, said), said
    journal = run.path / "before" / "completions.jsonl"
    kept = journal.read_bytes()
    assert kept.count(b"\n") == 1
    assert evaluation(run) == 0
    assert journal.read_bytes().startswith(kept)
    assert len(run.completions("before")) == 4
