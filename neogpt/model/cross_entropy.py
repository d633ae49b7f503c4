"""Cross-entropy of the tied head without the (tokens x vocabulary) matrix of logits in memory.

The loss is one number, so its gradient is known as soon as a chunk's logits are: each chunk's logits are
made, turned into their gradient in place, multiplied into dX and dW, and forgotten, all in the forward.
Memory is O(chunk x V) whatever the batch. Sources: Wijmans et al. 2024, "Cut Your Losses in
Large-Vocabulary Language Models"; Hsu et al. 2024, "Liger Kernel".

Shapes: B rows, T tokens, N tokens with a weight, C tokens of a chunk, D n_embd, V vocab_size.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from neogpt.model.gpt2 import GPT2

_CHUNK_BYTES = 32 * 2**20


def cross_entropy_sum(
    x_BTD: Tensor, wte_VD: Tensor, targets_BT: Tensor, weights_BT: Tensor, chunk: int | None = None
) -> Tensor:
    """Sum over tokens of weight x (-log p of the target), a scalar in float32 (float64 for float64 input).

    x_BTD: what the head is multiplied with; wte_VD: the tied embedding; targets_BT: int64; weights_BT: float.
    Tokens of weight 0 cost nothing and their targets are not looked at. `chunk`: tokens whose logits exist at
    once. Under autocast the products are in its dtype and the softmax in float32.
    """
    x_ND, targets_N, weights_N, _ = _weighted(x_BTD, targets_BT, weights_BT)
    dtype = _product_dtype(x_BTD)
    needs_grad = torch.is_grad_enabled() and (x_BTD.requires_grad or wte_VD.requires_grad)
    size = chunk or _default_chunk(wte_VD.shape[0])
    return _CrossEntropySum.apply(x_ND, wte_VD, targets_N, weights_N, size, dtype, needs_grad)


def log_probs(
    model: "GPT2", tokens_BT: Tensor, targets_BT: Tensor, weights_BT: Tensor, chunk: int | None = None
) -> Tensor:
    """log p of each target given the tokens up to it: (B, T), differentiable; 0 where the weight is 0.

    Only whether a weight is 0 matters. The logits are recomputed chunk by chunk for the gradient.
    """
    x_BTD = model.hidden(tokens_BT)
    wte_VD = model.transformer.wte.weight
    x_ND, targets_N, _, where = _weighted(x_BTD, targets_BT, weights_BT)
    size = chunk or _default_chunk(wte_VD.shape[0])
    logp_N = _LogProbs.apply(x_ND, wte_VD, targets_N, size, _product_dtype(x_BTD))
    if where is None:
        return logp_N.view(targets_BT.shape)
    flat = torch.zeros(targets_BT.numel(), dtype=logp_N.dtype, device=logp_N.device)
    return flat.index_copy(0, where, logp_N).view(targets_BT.shape)


def _weighted(
    x_BTD: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The tokens whose weight is not 0, and where they stood (None: everywhere)."""
    x, targets, weights = x_BTD.flatten(0, -2), targets.flatten(), weights.flatten()
    where = weights.nonzero().squeeze(1)
    if where.numel() == weights.numel():
        return x, targets, weights, None
    return x.index_select(0, where), targets[where], weights[where], where


def _product_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _default_chunk(V: int) -> int:
    return max(64, _CHUNK_BYTES // (4 * V))


def _softmax_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


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
    ) -> Tensor:
        wide = _softmax_dtype(x_ND)
        with torch.autocast(x_ND.device.type, enabled=False):
            x, w = x_ND.to(dtype), w_VD.to(dtype)
            loss = torch.zeros((), dtype=wide, device=x.device)
            dx = torch.empty_like(x) if needs_grad else None
            dw = torch.zeros_like(w_VD) if needs_grad else None
            for start in range(0, x.shape[0], chunk):
                part = slice(start, start + chunk)
                target_C1, weight_C1 = targets_N[part, None], weights_N[part, None].to(wide)
                logp_CV = (x[part] @ w.t()).to(wide).log_softmax(-1)
                loss -= (logp_CV.gather(1, target_C1) * weight_C1).sum()
                if dx is not None and dw is not None:
                    d_CV = logp_CV.exp_().mul_(weight_C1).scatter_add_(1, target_C1, -weight_C1).to(dtype)
                    torch.mm(d_CV, w, out=dx[part])
                    if dw.dtype == dtype:
                        dw.addmm_(d_CV.t(), x[part])
                    else:
                        dw += d_CV.t() @ x[part]
        ctx.x_dtype = x_ND.dtype
        if dx is not None:
            ctx.save_for_backward(dx, dw)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        return (dx * grads[0]).to(ctx.x_dtype), dw * grads[0], None, None, None, None, None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, w_VD: Tensor, targets_N: Tensor, chunk: int, dtype: torch.dtype
    ) -> Tensor:
        wide = _softmax_dtype(x_ND)
        with torch.autocast(x_ND.device.type, enabled=False):
            x, w = x_ND.to(dtype), w_VD.to(dtype)
            logp_N = torch.empty(x.shape[0], dtype=wide, device=x.device)
            for start in range(0, x.shape[0], chunk):
                part = slice(start, start + chunk)
                logp_CV = (x[part] @ w.t()).to(wide).log_softmax(-1)
                logp_N[part] = logp_CV.gather(1, targets_N[part, None]).squeeze(1)
        ctx.save_for_backward(x_ND, w_VD, targets_N)
        ctx.chunk, ctx.dtype = chunk, dtype
        return logp_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, w_VD, targets_N = ctx.saved_tensors
        weights_N, wide = -grads[0], _softmax_dtype(x_ND)
        with torch.autocast(x_ND.device.type, enabled=False):
            x, w = x_ND.to(ctx.dtype), w_VD.to(ctx.dtype)
            dx, dw = torch.empty_like(x), torch.zeros_like(w_VD)
            for start in range(0, x.shape[0], ctx.chunk):
                part = slice(start, start + ctx.chunk)
                target_C1, weight_C1 = targets_N[part, None], weights_N[part, None].to(wide)
                p_CV = (x[part] @ w.t()).to(wide).softmax(-1)
                d_CV = p_CV.mul_(weight_C1).scatter_add_(1, target_C1, -weight_C1).to(ctx.dtype)
                torch.mm(d_CV, w, out=dx[part])
                dw += d_CV.t() @ x[part]
        return dx.to(x_ND.dtype), dw, None, None, None
