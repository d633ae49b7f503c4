"""Cross-entropy of the tied head without the (tokens x vocabulary) matrix of logits in memory.

The loss is one number, so its gradient is known as soon as a chunk's logits are: each chunk's logits are
made, turned into their gradient in place, multiplied into dX and dW, and forgotten, all in the forward.
Memory is O(chunk x V) whatever the batch. Sources: Wijmans et al. 2024, "Cut Your Losses in
Large-Vocabulary Language Models"; Hsu et al. 2024, "Liger Kernel".

Shapes: B rows, T tokens, N tokens with a weight, C tokens of a chunk, S a few of them (or of the ids), D n_embd,
V vocab_size.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt.model import sizes
from neogpt.model.tensors import wide
from neogpt.torch_compat import keeps_graph

if TYPE_CHECKING:
    from neogpt.model.gpt2 import GPT2

_MULTIPLE = 64  # to which the number of chosen tokens is rounded up
_SLICE = 8192  # ids whose dW is in hand at once, for the same reason


def cross_entropy_sum(
    x_BTD: Tensor,
    wte_VD: Tensor,
    targets_BT: Tensor,
    weights_BT: Tensor,
    chunk: int | None = None,
    z_loss: float = 0.0,
    counted_N: Tensor | None = None,
) -> Tensor:
    """Sum over tokens of weight x (-log p of the target), a scalar in float32 (float64 for float64 input).

    x_BTD: what the head is multiplied with; wte_VD: the tied embedding; targets_BT: int64; weights_BT: float.
    Tokens of weight 0 cost nothing and their targets are not looked at (the last of the others is taken up to 63 times
    more, with weight 0, since a CPU's library is slow with ever other shapes). `chunk`: tokens whose logits exist at
    once. Under autocast the products are in its dtype and the softmax in float32.
    `z_loss` adds the gradient of z_loss x weight x (log sum exp logits)^2 (Chowdhery et al. 2022, "PaLM") and
    leaves the value alone, so that losses stay comparable.
    `counted_N`: the places in (B * T) whose weight is not 0, where the caller knows them; to find them on a GPU, the
    host would have to wait for it.
    """
    x_ND, targets_N, weights_N, _ = _weighted(x_BTD, targets_BT, weights_BT, counted_N)
    dtype = _product_dtype(x_BTD)
    needs_grad = torch.is_grad_enabled() and (x_BTD.requires_grad or wte_VD.requires_grad)
    size = chunk or sizes.head_chunk(wte_VD.shape[0], dtype.itemsize, x_BTD.device.type)
    return _CrossEntropySum.apply(x_ND, wte_VD, targets_N, weights_N, size, dtype, needs_grad, z_loss)


def log_probs(
    model: "GPT2",
    tokens_BT: Tensor,
    targets_BT: Tensor,
    weights_BT: Tensor,
    chunk: int | None = None,
    lengths: np.ndarray | Tensor | None = None,
    counted_N: Tensor | None = None,
) -> Tensor:
    """log p of each target given the tokens up to it: (B, T), differentiable; 0 where the weight is 0.

    Only whether a weight is 0 matters. The logits are recomputed chunk by chunk for the gradient. `lengths`: as
    in `GPT2.hidden`. `counted_N`: as in `cross_entropy_sum`.
    """
    x_BTD = model.hidden(tokens_BT, lengths=lengths)
    wte_VD = model.transformer.wte.weight
    x_ND, targets_N, _, where = _weighted(x_BTD, targets_BT, weights_BT, counted_N)
    logp_N = token_log_probs(x_ND, wte_VD, targets_N, chunk)
    if where is None:
        return logp_N.view(targets_BT.shape)
    logp_N = logp_N[: where.numel()]
    flat = torch.zeros(targets_BT.numel(), dtype=logp_N.dtype, device=logp_N.device)
    return flat.index_copy(0, where, logp_N).view(targets_BT.shape)


def token_log_probs(x_ND: Tensor, wte_VD: Tensor, targets_N: Tensor, chunk: int | None = None) -> Tensor:
    """log p of each target given its token's hidden state: (N,), differentiable; logits a chunk at a time."""
    dtype = _product_dtype(x_ND)
    size = chunk or sizes.head_chunk(wte_VD.shape[0], dtype.itemsize, x_ND.device.type)
    logp_N: Tensor = _LogProbs.apply(x_ND, wte_VD, targets_N, size, dtype)
    return logp_N


def _weighted(
    x_BTD: Tensor, targets: Tensor, weights: Tensor, where: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The tokens whose weight is not 0, and where they stood (None: everywhere).

    The last of them is repeated with weight 0 until they are a multiple of 64.
    """
    x, targets, weights = x_BTD.flatten(0, -2), targets.flatten(), weights.flatten()
    where = weights.nonzero().squeeze(1) if where is None else where
    if where.numel() == weights.numel():
        return x, targets, weights, None
    more = -where.numel() % _MULTIPLE
    taken = torch.cat([where, where[-1:].expand(more)])
    return x.index_select(0, taken), targets[taken], F.pad(weights[where], (0, more)), where


def _product_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        w_VD: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        chunk: int,
        dtype: torch.dtype,
        needs_grad: bool,
        z_loss: float,
    ) -> Tensor:
        weights_N = weights_N.to(wide(dtype))
        loss = weights_N.new_zeros(())

        def visit(rows: slice, logits_SV: Tensor) -> None:
            chosen_S = logits_SV.gather(1, targets_N[rows, None]).squeeze(1) if z_loss else None
            nll_S = _softmax_(logits_SV, targets_N[rows])
            loss.add_(nll_S @ weights_N[rows])
            if needs_grad and chosen_S is not None:
                # d/dlogits of z (log Z)^2 is 2 z (log Z) p, and log Z = nll + the target's logit.
                pull_S = 2 * z_loss * (nll_S + chosen_S)
                _logit_gradient_(logits_SV, targets_N[rows], weights_N[rows], pull_S)
            elif needs_grad:
                _logit_gradient_(logits_SV, targets_N[rows], weights_N[rows])

        gradients = _sweep(x_ND, w_VD, dtype, chunk, visit, needs_grad)
        ctx.x_dtype = x_ND.dtype
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx_ND, dw_VD = ctx.saved_tensors
        # dW is as large as the embedding: where nobody asks for it again, it is scaled in its place.
        dw_VD = dw_VD * grads[0] if keeps_graph() else dw_VD.mul_(grads[0])
        return (dx_ND * grads[0]).to(ctx.x_dtype), dw_VD, *[None] * 6


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, w_VD: Tensor, targets_N: Tensor, chunk: int, dtype: torch.dtype
    ) -> Tensor:
        logp_N = torch.empty(x_ND.shape[0], dtype=wide(dtype), device=x_ND.device)

        def visit(rows: slice, logits_SV: Tensor) -> None:
            logp_N[rows] = -_softmax_(logits_SV, targets_N[rows])

        _sweep(x_ND, w_VD, dtype, chunk, visit, needs_grad=False)
        ctx.save_for_backward(x_ND, w_VD, targets_N)
        ctx.chunk, ctx.dtype = chunk, dtype
        return logp_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, w_VD, targets_N = ctx.saved_tensors

        def visit(rows: slice, logits_SV: Tensor) -> None:
            torch.softmax(logits_SV, 1, out=logits_SV)
            _logit_gradient_(logits_SV, targets_N[rows], -grads[0][rows])

        dx_ND, dw_VD = _sweep(x_ND, w_VD, ctx.dtype, ctx.chunk, visit, needs_grad=True)
        return dx_ND.to(x_ND.dtype), dw_VD, None, None, None


def _sweep(
    x_ND: Tensor,
    w_VD: Tensor,
    dtype: torch.dtype,
    chunk: int,
    visit: Callable[[slice, Tensor], None],
    needs_grad: bool,
) -> tuple[Tensor, ...]:
    """Show `visit` every token's logits, a few tokens at a time, in buffers that are used again and again.

    With needs_grad, `visit` leaves the logits' gradient in their place, and dX (in `dtype`) and dW are returned.
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        dw_VD = torch.empty_like(w_VD) if needs_grad else None
        x_ND, w_VD = x_ND.to(dtype), w_VD.to(dtype)
        (N, _), V = x_ND.shape, w_VD.shape[0]
        dx_ND = torch.empty_like(x_ND)
        buffer_CV = x_ND.new_empty(min(chunk, N), V)
        scratch_SV = x_ND.new_empty(min(max(1, sizes.LOGITS_SCRATCH // V), N), V, dtype=wide(dtype))
        for start in range(0, N, chunk):
            x_CD = x_ND[start : start + chunk]
            logits_CV = torch.mm(x_CD, w_VD.t(), out=buffer_CV[: len(x_CD)])
            for i, part_SV in enumerate(logits_CV.split(len(scratch_SV))):
                first = start + i * len(scratch_SV)
                wide_SV = scratch_SV[: len(part_SV)].copy_(part_SV)
                visit(slice(first, first + len(part_SV)), wide_SV)
                if needs_grad:
                    part_SV.copy_(wide_SV)
            if dw_VD is not None:
                torch.mm(logits_CV, w_VD, out=dx_ND[start : start + chunk])
                _add_product_(dw_VD, logits_CV, x_CD, anew=not start)
        if dw_VD is not None and not N:
            dw_VD.zero_()
    return () if dw_VD is None else (dx_ND, dw_VD)


def _add_product_(dw_VD: Tensor, d_CV: Tensor, x_CD: Tensor, anew: bool) -> None:
    """dW += d^T x (anew: =), slice by slice where the product has another type than dW."""
    if dw_VD.dtype == d_CV.dtype:
        dw_VD.addmm_(d_CV.t(), x_CD, beta=0 if anew else 1)
        return
    put = Tensor.copy_ if anew else Tensor.add_
    for dw_SD, d_CS in zip(dw_VD.split(_SLICE), d_CV.split(_SLICE, dim=1), strict=True):
        put(dw_SD, d_CS.t() @ x_CD)


def _softmax_(logits_SV: Tensor, targets_S: Tensor) -> Tensor:
    """Turn logits into probabilities in place; -log p of the targets."""
    chosen_S1, largest_S1 = logits_SV.gather(1, targets_S[:, None]), logits_SV.amax(1, keepdim=True)
    torch.softmax(logits_SV, 1, out=logits_SV)
    # The largest logit's probability is 1 / sum(exp(logit - largest)).
    return (largest_S1 - chosen_S1 - logits_SV.amax(1, keepdim=True).log()).squeeze(1)


def _logit_gradient_(
    p_SV: Tensor, targets_S: Tensor, weights_S: Tensor, pull_S: Tensor | None = None
) -> None:
    """weight x ((1 + pull) p - onehot(target)), in place of p."""
    factor_S = weights_S if pull_S is None else weights_S * (1 + pull_S)
    p_SV.mul_(factor_S[:, None]).scatter_add_(1, targets_S[:, None], -weights_S[:, None])
