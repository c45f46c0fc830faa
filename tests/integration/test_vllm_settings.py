"""What vLLM is started with: room, precision, and whether it is compiled, of our choice and of a user's."""

from types import SimpleNamespace

import pytest

from harness.engines import Setup
from harness.errors import UserError
from harness.types import Problem, Request

vllm = pytest.importorskip("harness.engines.vllm", reason="no vLLM here: tox -e vllm tests it")

GPUS = [
    ("16-bit", {}, True, {}, "16-bit"),
    ("16-bit", {}, False, {"dtype": "float16"}, "16-bit"),
    ("16-bit", {"dtype": "float32"}, False, {}, "16-bit"),
    ("4-bit", {}, True, {"quantization": "bitsandbytes"}, "4-bit"),
    ("4-bit", {"quantization": "fp8"}, True, {}, "fp8"),
]
# (replies of the base, of the adapter, tokens of the longest, a user's arguments, how vLLM is started): graphs of these
# sizes and nothing compiled, graphs of our sizes beside vLLM's compiling, or as the user says.
CHOICES = [
    (50, 0, 320, {}, [1, 2, 4, 8, 16, 32, 64]),
    (64, 0, 320, {}, [1, 2, 4, 8, 16, 32, 64]),
    (1, 0, 320, {}, [1]),
    (50, 20, 320, {}, [1, 2, 4, 8, 16, 32, 64]),
    (3, 3, 2500, {}, [1, 2, 4]),
    (3, 3, 2501, {}, "compiled"),
    (3, 0, 5001, {}, "compiled"),
    (1537, 0, 2501, {}, "compiled"),
    (50, 0, 320, {"max_num_seqs": "20"}, [1, 2, 4, 8, 16, 32]),
    (0, 0, 320, {}, "compiled"),
    (50, 0, 320, {"enforce_eager": "false"}, "compiled"),
    (50, 0, 320, {"optimization_level": "2"}, "compiled"),
    (50, 0, 320, {"compilation_config": '{"mode": 3}'}, {"mode": 3}),
    (50, 0, 320, {"max_cudagraph_capture_size": "64"}, "as told"),
]


@pytest.fixture
def started(monkeypatch):
    """What vLLM is started with; it does not get further."""
    arguments = {}

    def stand_in(**settings):
        arguments.clear()
        arguments.update(settings)
        raise RuntimeError("far enough")

    monkeypatch.setattr(vllm, "LLM", stand_in)
    return arguments


def load(arguments, base, adapter, max_tokens):
    engine = vllm.VllmEngine(Setup("embedded", None, arguments, 0))
    problem = Problem("a", "How many?", None)
    requests = [Request(problem, 0, "word " * 100, "", "", 0, 0, number >= base) for number in range(base + adapter)]
    with pytest.raises(UserError, match="far enough"):
        engine.load(requests, max_tokens)
    return engine


@pytest.mark.parametrize(
    ("max_tokens", "arguments", "expected"),
    [(128, {}, 1024), (1000, {}, None), (100_000, {}, None), (128, {"max_model_len": "512"}, 512)],
)
def test_room_is_kept_for_what_the_run_asks(started, max_tokens, arguments, expected):
    """The embedded model allows 2,048 tokens; what a user says counts, and only that makes a run another one."""
    engine = load(arguments, 3, 0, max_tokens)
    assert started.get("max_model_len") == expected
    assert ("max_model_len" in engine.provenance["engine_args"]) == bool(arguments)


@pytest.mark.parametrize(("weights", "given", "has_bfloat16", "expected", "recorded"), GPUS)
def test_precision_on_a_gpu(monkeypatch, weights, given, has_bfloat16, expected, recorded):
    import torch

    from harness.engines import Setup, vllm_settings

    dtypes = [torch.float16, torch.float32, *([torch.bfloat16] if has_bfloat16 else [])]
    monkeypatch.setattr(vllm_settings, "ON_GPU", True)
    monkeypatch.setattr(vllm_settings, "current_platform", SimpleNamespace(supported_dtypes=dtypes))
    monkeypatch.setattr(vllm_settings, "model_type", lambda checkpoint: "qwen3")
    found = vllm_settings._precision(Setup("embedded", None, {}, 0, weights=weights), given)
    assert found == expected
    assert vllm_settings.weights_of(given | found, weights) == recorded


@pytest.mark.parametrize(("base", "adapter", "max_tokens", "given", "expected"), CHOICES)
def test_little_work_is_not_compiled(monkeypatch, started, base, adapter, max_tokens, given, expected):
    import torch

    from harness.engines import vllm_settings

    card = SimpleNamespace(
        get_device_total_memory=lambda: 2**37, supported_dtypes=[torch.bfloat16], get_device_name=lambda: "a card"
    )
    for module in (vllm, vllm_settings):
        monkeypatch.setattr(module, "ON_GPU", True)
        monkeypatch.setattr(module, "current_platform", card)
    load(given, base, adapter, max_tokens)
    if isinstance(expected, list):
        graphs = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": expected}
        assert started["compilation_config"] == graphs
        assert "cudagraph_capture_sizes" not in started
        assert started["ir_op_priority"]["rms_norm"] == ["harness"]
    elif expected == "compiled":
        assert "ir_op_priority" not in started
        assert started["cudagraph_capture_sizes"][-1] == 1536
        assert "compilation_config" not in started
    else:
        assert "cudagraph_capture_sizes" not in started
        assert started.get("compilation_config") == (None if expected == "as told" else expected)


@pytest.mark.parametrize(
    ("given", "another_process", "expected"),
    [
        ({}, "0", ["harness"]),
        ({}, "1", None),
        ({"tensor_parallel_size": 2}, "0", None),
        ({"pipeline_parallel_size": 2}, "0", None),
        ({"prefill_context_parallel_size": 2}, "0", None),
        ({"distributed_executor_backend": "uni"}, "0", ["harness"]),
        ({"distributed_executor_backend": "mp"}, "0", None),
        ({"ir_op_priority": {"rms_norm": ["native"]}}, "0", ["native"]),
        ({"kernel_config": {}}, "0", None),
    ],
)
def test_norms_are_ours_where_this_process_runs_the_model(monkeypatch, given, another_process, expected):
    from harness.engines import vllm_settings

    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", another_process)
    settings = vllm_settings.uncompiled({"cudagraph_capture_sizes": [1, 2], **given}, 2)
    assert settings.get("ir_op_priority", {}).get("rms_norm") == expected


@pytest.mark.parametrize("error", [ImportError("no vllm.ir"), ValueError("another schema")])
def test_another_vllm_has_its_own_norms(monkeypatch, error):
    import builtins

    from harness.engines import vllm_settings

    imported = builtins.__import__

    def without_norms(name, globals=None, locals=None, fromlist=(), level=0):
        if "vllm_norms" in (fromlist or ()):
            raise error
        return imported(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_norms)
    settings = vllm_settings.uncompiled({"cudagraph_capture_sizes": [1, 2]}, 2)
    assert "ir_op_priority" not in settings
