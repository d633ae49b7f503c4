"""Attention and GELU of CPU training: the textbook's, in every block size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt import torch_compat
from neogpt.inference.kernels import gelu_of_few
from neogpt.model import kernels, sizes


def reference(qkv_BTE: Tensor, n_head: int) -> Tensor:
    q, k, v = (p.unflatten(-1, (n_head, -1)).transpose(1, 2) for p in qkv_BTE.chunk(3, -1))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(future, -torch.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)


def relative(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


@pytest.mark.parametrize(
    ("queries", "scores"), [(128, 2**19), (5, 2**19), (5, 30), (1, 1), (7, 100)], ids=str
)
@pytest.mark.parametrize(("B", "H", "T", "K"), [(2, 3, 17, 8), (1, 1, 1, 4), (3, 2, 25, 2)])
def test_attention_in_blocks_is_the_textbooks(
    B: int, H: int, T: int, K: int, queries: int, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "ATTENTION_QUERIES", queries)
    monkeypatch.setattr(sizes, "ATTENTION_SCORES", scores)
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(B, T, 3 * H * K, generator=generator, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(B, T, H * K, generator=generator, dtype=torch.float64)
    got, expected = kernels._Attention.apply(qkv, H), reference(qkv, H)
    assert relative(got, expected) <= 1e-14
    slope = torch.autograd.grad(got, qkv, upstream)[0]
    expected_slope = torch.autograd.grad(expected, qkv, upstream)[0]
    assert (slope - expected_slope).norm() <= 1e-14 * (1 + expected_slope.norm())


@pytest.mark.parametrize(("T", "K"), [(96, 32), (300, 16)])
def test_bfloat16_attention_is_as_near_the_truth_as_pytorchs(T: int, K: int) -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, T, 3 * 4 * K, generator=generator).bfloat16().requires_grad_()
    upstream = torch.randn(2, T, 4 * K, generator=generator).bfloat16()
    assert type(kernels.attention(qkv, 4).grad_fn).__name__ == "_AttentionBackward"
    exact = qkv.detach().double().requires_grad_()
    truth = reference(exact, 4)
    truth_slope = torch.autograd.grad(truth, exact, upstream.double())[0]
    q, k, v = kernels.split_heads(qkv, 4)
    flash = kernels.merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True))
    flash_slope = torch.autograd.grad(flash, qkv, upstream)[0]
    with torch.autocast("cpu", torch.bfloat16):
        got = kernels.attention(qkv, 4)
        slope = torch.autograd.grad(got, qkv, upstream)[0]
    assert relative(got, truth) <= 1.25 * relative(flash, truth)
    assert relative(slope, truth_slope) <= 1.25 * relative(flash_slope, truth_slope)


def test_other_products_in_float32_keep_their_inputs() -> None:
    matmul = torch.backends.mkldnn.matmul
    qkv = torch.randn(1, 64, 3 * 32).bfloat16().requires_grad_()
    before = matmul.fp32_precision
    kernels.attention(qkv, 2).sum().backward()
    assert matmul.fp32_precision == before
    with pytest.raises(RuntimeError, match="broken"), torch_compat.bfloat16_inputs():
        raise RuntimeError("broken")
    assert matmul.fp32_precision == before


def test_no_float_mask_reaches_pytorchs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def spy(*args: Tensor, **options: object) -> Tensor:
        calls.append(options)
        return args[0]

    monkeypatch.setattr(kernels.F, "scaled_dot_product_attention", spy)
    kernels.attention(torch.randn(2, 8, 24), 2)
    kernels.attention(torch.randn(1, 1024, 24).bfloat16().requires_grad_(), 2)
    assert calls == [{"is_causal": True}] * 2


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_gelu_and_its_slope_are_pytorchs(
    dtype: torch.dtype, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "GELU_ELEMENTS", 1000)
    x = torch.linspace(-12, 12, 4003, dtype=dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    got, expected = kernels.gelu(x), F.gelu(exact, approximate="tanh")
    slope = torch.autograd.grad(got.sum(), x)[0]
    expected_slope = torch.autograd.grad(expected.sum(), exact)[0]
    assert (got - expected).abs().max() <= limit
    assert (slope - expected_slope).abs().max() <= 3 * limit
    with torch.no_grad():
        assert (kernels.gelu(x) - expected).abs().max() <= limit


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_what_is_compiled_for_gelu_is_pytorchs(
    dtype: torch.dtype, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    x = torch.linspace(-12, 12, 4003, dtype=dtype).requires_grad_()
    y, expected = kernels.gelu(x), F.gelu(x.double(), approximate="tanh")
    assert type(y.grad_fn).__name__ != "_GeluBackward"
    assert (y - expected).abs().max() <= limit
    slope, expected_slope = (torch.autograd.grad(found.sum(), x)[0] for found in (y, expected))
    assert (slope - expected_slope).abs().max() <= 3 * limit
    qkv = torch.randn(2, 8, 24, dtype=torch.bfloat16, requires_grad=True)
    assert type(kernels.attention(qkv, 2).grad_fn).__name__ != "_AttentionBackward"


def test_gelu_of_the_ends_is_finite() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.tensor([-1e9, -1e4, -40.0, 0.0, 40.0, 1e4, 1e9], dtype=dtype, requires_grad=True)
        y = kernels.gelu(x)
        y.sum().backward()
        expected = x.detach().clamp(min=0)
        assert torch.equal(y.detach(), expected)
        assert torch.equal(x.grad, (expected > 0).to(dtype).where(x.detach() != 0, 0.5))


def test_bfloat16_gelu_is_as_near_the_truth_as_pytorchs() -> None:
    generator = torch.Generator().manual_seed(0)
    x = (2 * torch.randn(5000, generator=generator)).bfloat16().requires_grad_()
    upstream = torch.randn(5000, generator=generator).bfloat16()
    exact = x.detach().double().requires_grad_()
    truth = F.gelu(exact, approximate="tanh")
    truth_slope = torch.autograd.grad(truth, exact, upstream.double())[0]
    theirs, got = F.gelu(x, approximate="tanh"), kernels.gelu(x)
    assert relative(got, truth) <= 1.05 * relative(theirs, truth)
    slope, their_slope = (torch.autograd.grad(y, x, upstream)[0] for y in (got, theirs))
    assert relative(slope, truth_slope) <= 2 * relative(their_slope, truth_slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [10, 2**17 + 1])
def test_gelu_of_few_numbers_is_gelu(dtype: torch.dtype, n: int) -> None:
    x = torch.linspace(-30, 30, n).to(dtype)
    torch.testing.assert_close(gelu_of_few(x), F.gelu(x, approximate="tanh"))
