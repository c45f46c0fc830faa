"""RMS norms with float32 weights in one kernel each, for a vLLM that compiles nothing.

Importing this module registers them with vLLM's `ir.ops`. vLLM's own kernels take weights of the hidden states' dtype
only. In Gemma 1 to 3, and wherever else a norm multiplies by 1 + weight, they are float32, so a norm takes eleven
of PyTorch's kernels, together a fifth of the GPU's time for a step of the 4B shape (baselines/README.md).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from vllm import ir

PROVIDER = "harness"
# vLLM's `ir_op_priority`; its own choices follow, for whatever ours do not take.
PRIORITY = {"rms_norm": [PROVIDER], "fused_add_rms_norm": [PROVIDER]}
ELEMENTS_OF_A_WARP = 256
# CUDA's limit for a grid's second dimension.
MOST_HEADS = 2**16 - 1


@triton.jit
def _norm(
    x,
    residual,
    weight,
    normed,
    summed,
    row_stride,
    head_stride,
    heads,
    epsilon,
    width: tl.constexpr,
    power_of_two: tl.constexpr,
    adds: tl.constexpr,
):
    """The norm of one head of a row, or of a whole row. All in float32, as in vLLM's own PyTorch code."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    columns = tl.arange(0, power_of_two)
    there = columns < width
    values = tl.load(x + row * row_stride + head * head_stride + columns, mask=there, other=0.0).to(tl.float32)
    place = (row * heads + head) * width + columns
    if adds:
        values += tl.load(residual + place, mask=there, other=0.0).to(tl.float32)
        tl.store(summed + place, values.to(summed.dtype.element_ty), mask=there)
    scale = tl.rsqrt(tl.sum(values * values, axis=0) / width + epsilon)
    weights = tl.load(weight + columns, mask=there, other=0.0)
    tl.store(normed + place, (values * scale * weights).to(normed.dtype.element_ty), mask=there)


def _launched(x: Tensor, residual: Tensor | None, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The norm of x, or of x + residual, and that sum. x: (rows, width) or (rows, heads, width)."""
    normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    summed = normed if residual is None else torch.empty_like(normed)
    heads, head_stride = (x.shape[1], x.stride(1)) if x.dim() == 3 else (1, 0)
    width = x.shape[-1]
    power_of_two = triton.next_power_of_2(width)
    _norm[(x.shape[0], heads)](
        x,
        x if residual is None else residual,
        weight,
        normed,
        summed,
        x.stride(0),
        head_stride,
        heads,
        epsilon,
        width=width,
        power_of_two=power_of_two,
        adds=residual is not None,
        num_warps=min(max(power_of_two // ELEMENTS_OF_A_WARP, 1), 8),
    )
    return normed, summed


def _can_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    are_rows = x.dim() == 2 or (x.dim() == 3 and x.shape[1] <= MOST_HEADS)
    return are_rows and x.stride(-1) == 1 and _is_ours(x, weight) and variance_size is None


def _can_add(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    are_rows = x.dim() == 2 and x.is_contiguous() and x_residual.is_contiguous()
    alike = (x.shape, x.dtype) == (x_residual.shape, x_residual.dtype)
    return are_rows and alike and _is_ours(x, weight) and variance_size is None


def _is_ours(x: Tensor, weight: Tensor | None) -> bool:
    if weight is None or weight.dtype != torch.float32 or x.dtype == torch.float32:
        return False
    return weight.shape == x.shape[-1:] and weight.is_contiguous()


@ir.ops.rms_norm.register_impl(PROVIDER, supports_args=_can_norm)
def rms_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> Tensor:
    return _launched(x, None, weight, epsilon)[0]


@ir.ops.fused_add_rms_norm.register_impl(PROVIDER, supports_args=_can_add)
def fused_add_rms_norm(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> tuple[Tensor, Tensor]:
    return _launched(x, x_residual, weight, epsilon)
