"""Our kernels of RMS norms give what vLLM's own PyTorch code gives. Without a GPU Triton's interpreter runs them."""

import os

import pytest
import torch

pytest.importorskip("triton", reason="no Triton here: tox -e vllm tests it")
norms = pytest.importorskip("harness.engines.vllm_norms", reason="no vLLM here: tox -e vllm tests it")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU here: tox -e vllm sets TRITON_INTERPRET=1", allow_module_level=True)

BFLOAT16, FLOAT16, FLOAT32 = torch.bfloat16, torch.float16, torch.float32
# (shape, dtype): whole rows, and the heads of queries and keys. The interpreter cuts what it turns into bfloat16
# instead of rounding it, so float16 is what tells whether each step has the right dtype.
SHAPES = [
    ((1, 64), BFLOAT16),
    ((0, 64), BFLOAT16),
    ((2, 2560), BFLOAT16),
    ((3, 4, 32), BFLOAT16),
    ((64, 640), FLOAT16),
    ((9, 3, 100), FLOAT16),
    ((1, 1, 256), FLOAT16),
]
# (how the arguments differ from float32 weights for tidy rows, whether our kernels take them)
ARGUMENTS = [
    ({}, True),
    ({"weight": torch.ones(8, dtype=BFLOAT16)}, False),
    ({"weight": None}, False),
    ({"weight": torch.ones(16)[::2]}, False),
    ({"variance_size": 4}, False),
    ({"x": torch.ones(4, 16)[:, ::2]}, False),
    ({"x": torch.ones(8)}, False),
    ({"x": torch.ones(4, 8)}, False),
    ({"weight": torch.ones(1)}, False),
]


def numbers(*shape, dtype=FLOAT32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE, dtype)


def assert_same(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(found, expected)
    if found.dtype == FLOAT16:
        assert (found != expected).float().mean() < 0.001


def both(name, *arguments):
    from vllm import ir

    op = getattr(ir.ops, name)
    assert op.impls[norms.PROVIDER].supports_args(*arguments)
    return op.impls["native"].impl_fn(*arguments), op.impls[norms.PROVIDER].impl_fn(*arguments)


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
def test_norms_equal_vllms(shape, dtype):
    expected, found = both("rms_norm", numbers(*shape, dtype=dtype), 1 + numbers(shape[-1]), 1e-6)
    assert_same(found, expected)


def test_heads_are_read_where_they_lie():
    """Queries and keys are parts of the rows of one tensor."""
    rows = numbers(5, 10 * 32, dtype=FLOAT16)
    for heads in (rows[:, : 6 * 32].unflatten(-1, (6, 32)), rows[:, 6 * 32 : 8 * 32].unflatten(-1, (2, 32))):
        assert not heads.is_contiguous()
        expected, found = both("rms_norm", heads, 1 + numbers(32), 1e-6)
        assert_same(found, expected)


@pytest.mark.parametrize(("shape", "dtype"), [each for each in SHAPES if len(each[0]) == 2])
def test_sums_and_their_norms_equal_vllms(shape, dtype):
    x, residual = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype).flip(0)
    kept = x.clone(), residual.clone()
    expected, found = both("fused_add_rms_norm", x, residual, 1 + numbers(shape[-1]), 1e-6)
    for place in (0, 1):
        assert_same(found[place], expected[place])
    assert torch.equal(x, kept[0])
    assert torch.equal(residual, kept[1])


@pytest.mark.parametrize(("changed", "expected"), ARGUMENTS)
def test_other_arguments_are_left_to_vllm(changed, expected):
    given = {"x": numbers(4, 8, dtype=BFLOAT16), "weight": torch.ones(8), "epsilon": 1e-6} | changed
    assert norms._can_norm(**given) == expected
    assert norms._can_add(x_residual=given["x"].clone(), **given) == expected


@pytest.mark.parametrize(("heads", "expected"), [(65_535, True), (65_536, False)])
def test_more_heads_than_a_grid_has_room_for_are_left_to_vllm(heads, expected):
    assert norms._can_norm(torch.ones(1, heads, 8, dtype=BFLOAT16), torch.ones(8), 1e-6) == expected


@pytest.mark.parametrize(
    ("x", "residual"),
    [(numbers(4, 2, 8), numbers(4, 2, 8)), (numbers(4, 8), numbers(1, 8)), (numbers(4, 8), numbers(8, 4).T)],
)
def test_other_sums_are_left_to_vllm(x, residual):
    assert not norms._can_add(x.to(BFLOAT16), residual.to(BFLOAT16), torch.ones(8), 1e-6)
    assert not norms._can_add(numbers(4, 8, dtype=BFLOAT16), numbers(4, 8), torch.ones(8), 1e-6)
