"""The chunked loss: PyTorch's cross-entropy to the last digits, without its memory."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from neogpt.config import GPT2Config
from neogpt.model import GPT2, cross_entropy_sum, log_probs

B, T, D, V = 3, 37, 24, 301


def problem(dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, head, targets and weights, a third of which are 0."""
    generator = torch.Generator().manual_seed(0)
    x_BTD = torch.randn(B, T, D, generator=generator, dtype=torch.float64) * scale
    wte_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    targets_BT = torch.randint(0, V, (B, T), generator=generator)
    weights_BT = torch.rand(B, T, generator=generator, dtype=torch.float64)
    weights_BT[weights_BT < 1 / 3] = 0
    return (
        x_BTD.to(dtype).requires_grad_(),
        wte_VD.to(dtype).requires_grad_(),
        targets_BT,
        weights_BT.to(dtype),
    )


def plain(x_BTD: Tensor, wte_VD: Tensor, targets_BT: Tensor, weights_BT: Tensor) -> Tensor:
    logits = F.linear(x_BTD, wte_VD).flatten(0, 1)
    nll = F.cross_entropy(logits, targets_BT.flatten(), reduction="none")
    return nll @ weights_BT.flatten().to(nll.dtype)


def relative(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, None])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_loss_and_gradients_are_those_of_full_logits(
    dtype: torch.dtype, limit: float, chunk: int | None
) -> None:
    x, w, targets, weights = problem(dtype)
    expected = plain(x, w, targets, weights)
    dx, dw = torch.autograd.grad(expected, (x, w))
    loss = cross_entropy_sum(x, w, targets, weights, chunk=chunk)
    assert loss.dtype == dtype
    assert relative(loss, expected) <= limit
    # The gradient that reaches the loss counts: the loop divides by the weight of the whole batch.
    got_x, got_w = torch.autograd.grad(loss * 0.25, (x, w))
    assert relative(got_x, dx * 0.25) <= limit
    assert relative(got_w, dw * 0.25) <= limit


def test_in_pieces_of_scratch_and_vocabulary_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, targets, weights = problem(torch.float32)
    whole = []
    for scratch, part in ((2**20, 8192), (V * 5, 64), (1, 1)):
        monkeypatch.setattr("neogpt.model.sizes.LOGITS_SCRATCH", scratch)
        monkeypatch.setattr("neogpt.model.cross_entropy._SLICE", part)
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy_sum(x, w, targets, weights, chunk=50)
        whole.append((loss, *torch.autograd.grad(loss, (x, w))))
    for loss, dx, dw in whole[1:]:
        assert relative(loss, whole[0][0]) <= 1e-6
        assert relative(dx, whole[0][1]) <= 1e-6
        assert relative(dw, whole[0][2]) <= 1e-5


@pytest.mark.parametrize("scale", [30.0, 1000.0])
def test_enormous_logits_stay_finite_and_right(scale: float) -> None:
    x, w, targets, weights = problem(torch.float32, scale)
    expected = plain(x, w, targets, weights)
    loss = cross_entropy_sum(x, w, targets, weights, chunk=8)
    assert expected.isfinite()
    assert relative(loss, expected) <= 1e-6
    dx = torch.autograd.grad(expected, x)[0]
    assert relative(torch.autograd.grad(loss, x)[0], dx) <= 1e-5


def test_bfloat16_products_with_a_float32_softmax() -> None:
    x, w, targets, weights = problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy_sum(x, w, targets, weights, chunk=16)
        reference = plain(x, w, targets, weights)
    assert loss.dtype == torch.float32
    truth = plain(*(t.double() if t.is_floating_point() else t for t in (x, w, targets, weights)))
    assert relative(loss, truth) <= 1e-2
    got, plainly = torch.autograd.grad(loss, (x, w)), torch.autograd.grad(reference, (x, w))
    exact = torch.autograd.grad(truth, (x, w))
    for a, b, t in zip(got, plainly, exact, strict=True):
        assert a.dtype == torch.float32
        assert relative(a, t) <= 1.25 * relative(b, t)


def test_all_weights_zero_gives_zero() -> None:
    x, w, targets, weights = problem(torch.float32)
    loss = cross_entropy_sum(x, w, targets, torch.zeros_like(weights))
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()
    assert not w.grad.any()


def test_targets_of_weight_zero_are_not_looked_at() -> None:
    x, w, targets, weights = problem(torch.float32)
    expected = cross_entropy_sum(x, w, targets, weights)
    hidden = targets.masked_fill(weights == 0, -100)
    assert torch.equal(cross_entropy_sum(x, w, hidden, weights), expected)
    prompt = x.detach().masked_fill((weights == 0)[..., None], math.nan).requires_grad_()
    loss = cross_entropy_sum(prompt, w, hidden, weights)
    assert torch.equal(loss, expected)
    loss.backward()
    assert torch.equal(prompt.grad.abs().sum(-1) == 0, weights == 0)


def even(n: int) -> int:
    """Chosen tokens are rounded up to a multiple of 64."""
    return -(-n // 64) * 64


def test_tokens_of_weight_zero_cost_nothing() -> None:
    x, w, targets, weights = problem(torch.float32)
    weights = torch.zeros_like(weights)
    weights[0, :10] = 1
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
        cross_entropy_sum(x, w, targets, weights)
    assert counter.get_total_flops() == 3 * 2 * even(10) * D * V


class LargestTensor(TorchDispatchMode):
    """Watches what every operation returns."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.untyped_storage().nbytes() // value.element_size())
        return out


@pytest.mark.parametrize("autocast", [False, True])
def test_no_tensor_is_larger_than_a_chunk_of_logits_or_the_head(
    autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neogpt.model.sizes.LOGITS_SCRATCH", 4 * V)
    x, w, targets, weights = problem(torch.float32)
    with LargestTensor() as watch, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        cross_entropy_sum(x, w, targets, torch.ones_like(weights), chunk=8).backward()
    assert watch.numel == max(8 * V, V * D)
    full = B * T * V
    with LargestTensor() as watch:
        plain(x, w, targets, weights).backward()
    assert watch.numel >= full


def test_the_same_bits_again() -> None:
    x, w, targets, weights = problem(torch.float32)
    results = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy_sum(x, w, targets, weights, chunk=20)
        results.append((loss, *torch.autograd.grad(loss, (x, w))))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_without_gradients_none_is_computed() -> None:
    x, w, targets, weights = problem(torch.float32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        loss = cross_entropy_sum(x, w, targets, weights)
    assert not loss.requires_grad
    assert counter.get_total_flops() == 2 * even(int((weights != 0).sum())) * D * V
    assert torch.equal(loss, cross_entropy_sum(x, w, targets, weights).detach())


SMALL = GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=20, vocab_size=53)


def small() -> tuple[GPT2, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens, targets = torch.randint(0, 53, (2, 3, 20), generator=generator)
    weights = (torch.rand(3, 20, generator=generator) < 0.5).double()
    return GPT2(SMALL).double(), tokens, targets, weights


@pytest.mark.parametrize("chunk", [1, 4, None])
def test_log_probs_and_their_gradient_are_those_of_full_logits(chunk: int | None) -> None:
    model, tokens, targets, weights = small()
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    got = log_probs(model, tokens, targets, weights, chunk=chunk)
    full = model(tokens).log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    assert got.shape == (3, 20)
    assert relative(got, full * weights) <= 1e-12
    assert not got[weights == 0].any()
    parameters = list(model.parameters())
    expected = torch.autograd.grad((full * weights * upstream).sum(), parameters)
    for a, b in zip(torch.autograd.grad((got * upstream).sum(), parameters), expected, strict=True):
        assert (a - b).norm() <= 1e-12 * b.norm() + 1e-15


def test_log_probs_in_float32_under_autocast_and_where_no_target_counts() -> None:
    model, tokens, targets, weights = small()
    exact = log_probs(model, tokens, targets, weights)
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        got = log_probs(model, tokens, targets, weights.float())
    assert got.dtype == torch.float32
    assert relative(got, exact) <= 1e-2
    got.sum().backward()
    nothing = log_probs(model, tokens, targets, torch.zeros(3, 20))
    assert not nothing.any()
    nothing.sum().backward()


def test_log_probs_make_logits_only_where_a_target_counts() -> None:
    model, tokens, targets, weights = small()
    with torch.no_grad():
        with FlopCounterMode(display=False) as hidden:
            model.hidden(tokens)
        with FlopCounterMode(display=False) as both:
            log_probs(model, tokens, targets, weights)
    assert both.get_total_flops() - hidden.get_total_flops() == 2 * even(int(weights.sum())) * 16 * 53


def test_gradients_by_finite_differences() -> None:
    x, w, targets, weights = problem(torch.float64)
    x, w = x.detach()[:1, :4].requires_grad_(), w.detach()[:9].requires_grad_()
    targets = targets[:1, :4] % 9

    def loss(x: Tensor, w: Tensor) -> Tensor:
        return cross_entropy_sum(x, w, targets, weights[:1, :4], chunk=3)

    assert torch.autograd.gradcheck(loss, (x, w))


@pytest.mark.parametrize("chunk", [7, None])
def test_z_loss_adds_its_gradient_and_leaves_the_value(chunk: int | None) -> None:
    x, w, targets, weights = problem(torch.float64)
    z = 0.3
    log_z = F.linear(x, w).flatten(0, 1).logsumexp(1)
    pure = plain(x, w, targets, weights)
    expected = torch.autograd.grad(pure + z * (weights.flatten() @ log_z**2), (x, w))
    loss = cross_entropy_sum(x, w, targets, weights, chunk=chunk, z_loss=z)
    assert relative(loss, pure) <= 1e-12
    for got, reference in zip(torch.autograd.grad(loss, (x, w)), expected, strict=True):
        assert relative(got, reference) <= 1e-12
