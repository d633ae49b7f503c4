"""Cross-entropy of the tied head without the (tokens x vocabulary) matrix of logits in memory.

The loss is one number, so its gradient is known as soon as a chunk's logits are: each chunk's logits are
made, turned into their gradient in place, multiplied into dX and dW, and forgotten, all in the forward.
Memory is O(chunk x V) whatever the batch. Sources: Wijmans et al. 2024, "Cut Your Losses in
Large-Vocabulary Language Models"; Hsu et al. 2024, "Liger Kernel".

Shapes: B rows, T tokens, N tokens with a weight, C tokens of a chunk, D n_embd, V vocab_size.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from neogpt.model.gpt2 import GPT2

_LOGITS = 2**20  # logits at once where the vocabulary is small, so that they stay in the processor's cache
_LEAST_CHUNK = 512  # and tokens at once where it is large: fewer would make dW's traffic show


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
    return max(_LEAST_CHUNK, _LOGITS // V)


class _Chunks:
    """Logits of C tokens at a time, in buffers that every chunk uses again."""

    def __init__(self, x_ND: Tensor, w_VD: Tensor, chunk: int, dtype: torch.dtype) -> None:
        self.x_ND, self.w_VD, self.chunk = x_ND.to(dtype), w_VD.to(dtype), chunk
        self.wide = torch.promote_types(dtype, torch.float32)
        shape = (min(chunk, x_ND.shape[0]), w_VD.shape[0])
        self._product_CV = torch.empty(shape, dtype=dtype, device=x_ND.device)
        same = dtype == self.wide
        self._wide_CV = self._product_CV if same else torch.empty(shape, dtype=self.wide, device=x_ND.device)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Each chunk's tokens and their logits, float32 or wider, to be overwritten."""
        for start in range(0, self.x_ND.shape[0], self.chunk):
            x_CD = self.x_ND[start : start + self.chunk]
            logits_CV = torch.mm(x_CD, self.w_VD.t(), out=self._product_CV[: len(x_CD)])
            if self._wide_CV is not self._product_CV:
                logits_CV = self._wide_CV[: len(x_CD)].copy_(logits_CV)
            yield slice(start, start + len(x_CD)), logits_CV

    def backward(self, part: slice, d_CV: Tensor, dx_ND: Tensor, dw_VD: Tensor) -> None:
        """Add what the gradient of a chunk's logits means for x and for the head."""
        if d_CV is not self._product_CV:
            d_CV = self._product_CV[: len(d_CV)].copy_(d_CV)
        torch.mm(d_CV, self.w_VD, out=dx_ND[part])
        if dw_VD.dtype == d_CV.dtype:
            dw_VD.addmm_(d_CV.t(), self.x_ND[part])
        else:
            dw_VD += d_CV.t() @ self.x_ND[part]


def _softmax_(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    """-log p of the targets, and p over all of V in place of the logits."""
    target_C1 = targets_C[:, None]
    chosen_C1, largest_C1 = logits_CV.gather(1, target_C1), logits_CV.amax(1, keepdim=True)
    p_CV = torch.softmax(logits_CV, 1, out=logits_CV)
    # The largest logit's p is 1 / sum(exp(logit - largest)).
    return (largest_C1 - chosen_C1 - p_CV.amax(1, keepdim=True).log()).squeeze(1), p_CV


def _logit_gradient_(p_CV: Tensor, targets_C: Tensor, weights_C: Tensor) -> Tensor:
    """weight x (p - onehot(target)), in place of p."""
    return p_CV.mul_(weights_C[:, None]).scatter_add_(1, targets_C[:, None], -weights_C[:, None])


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
        with torch.autocast(x_ND.device.type, enabled=False):
            chunks = _Chunks(x_ND, w_VD, chunk, dtype)
            weights_N = weights_N.to(chunks.wide)
            loss = torch.zeros((), dtype=chunks.wide, device=x_ND.device)
            if needs_grad:
                dx_ND, dw_VD = torch.empty_like(chunks.x_ND), torch.zeros_like(w_VD)
                ctx.save_for_backward(dx_ND, dw_VD)
            for part, logits_CV in chunks:
                nll_C, p_CV = _softmax_(logits_CV, targets_N[part])
                loss += nll_C @ weights_N[part]
                if needs_grad:
                    chunks.backward(
                        part, _logit_gradient_(p_CV, targets_N[part], weights_N[part]), dx_ND, dw_VD
                    )
        ctx.x_dtype = x_ND.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx_ND, dw_VD = ctx.saved_tensors
        return (dx_ND * grads[0]).to(ctx.x_dtype), dw_VD * grads[0], None, None, None, None, None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, w_VD: Tensor, targets_N: Tensor, chunk: int, dtype: torch.dtype
    ) -> Tensor:
        with torch.autocast(x_ND.device.type, enabled=False):
            chunks = _Chunks(x_ND, w_VD, chunk, dtype)
            logp_N = torch.empty(x_ND.shape[0], dtype=chunks.wide, device=x_ND.device)
            for part, logits_CV in chunks:
                logp_N[part] = -_softmax_(logits_CV, targets_N[part])[0]
        ctx.save_for_backward(x_ND, w_VD, targets_N)
        ctx.chunk, ctx.dtype = chunk, dtype
        return logp_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, w_VD, targets_N = ctx.saved_tensors
        with torch.autocast(x_ND.device.type, enabled=False):
            chunks = _Chunks(x_ND, w_VD, ctx.chunk, ctx.dtype)
            dx_ND, dw_VD = torch.empty_like(chunks.x_ND), torch.zeros_like(w_VD)
            for part, logits_CV in chunks:
                p_CV = torch.softmax(logits_CV, 1, out=logits_CV)
                chunks.backward(part, _logit_gradient_(p_CV, targets_N[part], -grads[0][part]), dx_ND, dw_VD)
        return dx_ND.to(x_ND.dtype), dw_VD, None, None, None
