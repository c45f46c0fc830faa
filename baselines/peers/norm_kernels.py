"""Microseconds of one RMS norm with float32 weights, as Gemma's, on a GPU: vLLM's PyTorch code against our kernel.

    python -m baselines.peers.norm_kernels OUT.json [--rows 1319] [--width 2560]

Each is captured a hundred times in one CUDA graph, as a step that generates is.
"""

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from vllm import ir
from vllm.platforms import current_platform

from harness.engines import vllm_norms
from harness.evaluation import provenance
from harness.storage.files import write_json

CALLS = 100


def microseconds(norm: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    norm(*arguments)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            norm(*arguments)
    graph.replay()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1000 / CALLS


def differing(native: torch.Tensor, ours: torch.Tensor) -> float:
    """The share of numbers that are not the same to the last bit."""
    return (native != ours).float().mean().item()


def measured(rows: int, width: int) -> dict[str, Any]:
    x, residual = (torch.randn(rows, width, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    weight = 1 + torch.randn(width, device="cuda")
    result = {}
    for name, arguments in {"rms_norm": (x, weight, 1e-6), "fused_add_rms_norm": (x, residual, weight, 1e-6)}.items():
        norms = {who: getattr(ir.ops, name).impls[who].impl_fn for who in ("native", vllm_norms.PROVIDER)}
        normed = [norm(*arguments) if name == "rms_norm" else norm(*arguments)[0] for norm in norms.values()]
        result[name] = {who: microseconds(norm, arguments) for who, norm in norms.items()}
        result[name]["share_that_differs"] = differing(*normed)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1319)
    parser.add_argument("--width", type=int, default=2560)
    given = parser.parse_args()
    about = {
        "date": str(date.today()),
        "machine": current_platform.get_device_name(),
        "versions": provenance.versions(),
        "rows": given.rows,
        "width": given.width,
    }
    result = measured(given.rows, given.width)
    write_json(given.out, about | {"microseconds": result})
    for name, figures in result.items():
        print(name, {key: round(value, 6) for key, value in figures.items()})


if __name__ == "__main__":
    main()
