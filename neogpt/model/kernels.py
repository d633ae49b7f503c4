"""Attention and GELU for training on CPUs, where PyTorch's own are slow; elsewhere, PyTorch's own.

Both are ordinary tensor operations inside an autograd.Function, so they run, and compile, wherever PyTorch does.

Shapes: B rows, T tokens, D n_embd, H heads, K head size, N a chunk of the B x H heads, Q a block of queries,
S the keys they see.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt.model import sizes
from neogpt.model.tensors import wide
from neogpt.torch_compat import bfloat16_inputs, softmax_backward_

GELU_ELEMENTS = 2**17  # numbers of a GELU at once, so that their scratch is used again and again
GELU_LINEAR = 2 * math.sqrt(2 / math.pi)
GELU_CUBIC = GELU_LINEAR * 0.044715


def attention(qkv_BTE: Tensor, n_head: int) -> Tensor:
    """Causal self-attention: queries, keys and values side by side (B, T, 3D) -> (B, T, D).

    PyTorch's fused attention, except for its backward where bfloat16 is trained on CPUs: that takes up to several
    times as long as the batched products below, the shorter the rows the more. They form the probabilities again in
    float32, block by block (the scheme of Dao et al. 2022, "FlashAttention"); all other products are in bfloat16.
    """
    if (
        qkv_BTE.dtype == torch.bfloat16
        and qkv_BTE.shape[1] < sizes.ATTENTION_LONG
        and _is_trained_eagerly(qkv_BTE)
    ):
        return _Attention.apply(qkv_BTE, n_head)
    q, k, v = split_heads(qkv_BTE, n_head)
    return merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True))


def split_heads(qkv_BTE: Tensor, n_head: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3D) -> queries, keys, values, each a view (B, H, T, K)."""
    q, k, v = by_heads(qkv_BTE, n_head).unbind(0)
    return q, k, v


def by_heads(qkv_BTE: Tensor, n_head: int) -> Tensor:
    """(B, T, 3D) -> queries, keys, values in one view (3, B, H, T, K)."""
    return qkv_BTE.unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)


def merge_heads(y_BHTK: Tensor) -> Tensor:
    """(B, H, T, K) -> (B, T, D)."""
    return y_BHTK.transpose(1, 2).flatten(2)


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks & Gimpel 2016): x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).

    On CPUs the sigmoid takes a fraction of PyTorch's tanh, compiled too, and the slope is kept in place of the input.
    """
    if _is_trained_eagerly(x):
        return _Gelu.apply(x)
    if x.device.type == "cpu" and torch.compiler.is_compiling():
        wide_x = x.to(wide(x.dtype))
        return (wide_x * (wide_x * (GELU_LINEAR + GELU_CUBIC * wide_x * wide_x)).sigmoid()).to(x.dtype)
    return F.gelu(x, approximate="tanh")


def _is_trained_eagerly(x: Tensor) -> bool:
    """On a CPU, for a gradient, and not compiled: the compiler fuses PyTorch's own operations, and not these."""
    eager = x.device.type == "cpu" and not torch.compiler.is_compiling()
    return eager and torch.is_grad_enabled() and x.requires_grad


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, slope = torch.empty_like(x), torch.empty_like(x)
        flat = (x.reshape(-1), y.view(-1), slope.view(-1))
        one = torch.ones((), dtype=wide(x.dtype))
        a, b = one * GELU_LINEAR, GELU_CUBIC
        for x_E, y_E, slope_E in zip(*(t.split(GELU_ELEMENTS) for t in flat), strict=True):
            x_E = x_E.to(one.dtype)
            sigmoid_E = torch.addcmul(a, x_E, x_E, value=b).mul_(x_E).sigmoid_()
            product_E = x_E * sigmoid_E
            y_E.copy_(product_E)
            # dy/dx = s + (1 - s) y (a + 3 b x^2): from s towards 1.
            slope_E.copy_(sigmoid_E.lerp_(one, torch.addcmul(a, x_E, x_E, value=3 * b).mul_(product_E)))
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * ctx.saved_tensors[0]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_BTE: Tensor, n_head: int) -> Tensor:
        ctx.save_for_backward(qkv_BTE)
        ctx.n_head = n_head
        q, k, v = split_heads(qkv_BTE, n_head)
        return merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (qkv_BTE,), H = ctx.saved_tensors, ctx.n_head
        q_NTK, k_NTK, v_NTK = (part.flatten(0, 1) for part in split_heads(qkv_BTE, H))
        dy_NTK = grads[0].unflatten(-1, (H, -1)).transpose(1, 2).flatten(0, 1)
        (N, T, K), dtype = q_NTK.shape, qkv_BTE.dtype
        scale = 1 / math.sqrt(K)
        wide_q_NTK, wide_k_NTK = q_NTK.to(wide(dtype)), k_NTK.to(wide(dtype))
        dqkv_3NTK = qkv_BTE.new_empty(3, N, T, K)
        # Keys and values of several blocks add up in float32.
        dkv_2NTK = dqkv_3NTK[1:] if T <= sizes.ATTENTION_QUERIES else dqkv_3NTK[1:].to(wide(dtype))
        size, kinds = _scores_at_once(N, T), (wide(dtype), dtype, dtype)
        scratch = [qkv_BTE.new_empty(size, dtype=kind) for kind in kinds]
        # What is read as bfloat16 holds nothing finer, and sums and results stay float32, as a product of bfloat16
        # tensors cannot have them: at twice float32's speed or more where the processor multiplies bfloat16.
        with torch.autocast("cpu", enabled=False), bfloat16_inputs():
            for heads, block, seen in _blocks(N, T):
                q_NQK, dy_NQK, k_NSK = q_NTK[heads, block], dy_NTK[heads, block], k_NTK[heads, seen]
                shape = (len(q_NQK), q_NQK.shape[1], k_NSK.shape[1])
                scores_NQS, p_NQS, ds_NQS = (part[: math.prod(shape)].view(shape) for part in scratch)
                _product(wide_q_NTK[heads, block], wide_k_NTK[heads, seen].mT, scale, scores_NQS)
                p_NQS.copy_(_probabilities_(scores_NQS))
                torch.bmm(dy_NQK, v_NTK[heads, seen].mT, out=ds_NQS)
                softmax_backward_(ds_NQS, p_NQS)
                dqkv_3NTK[0, heads, block] = _product(ds_NQS, k_NSK, scale)
                # The first block sees every key: it writes what the others add to.
                put = Tensor.copy_ if block.stop == T else Tensor.add_
                put(dkv_2NTK[0, heads, seen], _product(ds_NQS.mT, q_NQK, scale))
                put(dkv_2NTK[1, heads, seen], p_NQS.mT @ dy_NQK)
        if dkv_2NTK.dtype != dtype:
            dqkv_3NTK[1:] = dkv_2NTK
        return dqkv_3NTK.unflatten(1, (-1, H)).permute(1, 3, 0, 2, 4).flatten(2), None


def _blocks(N: int, T: int) -> Iterator[tuple[slice, slice, slice]]:
    """Heads, their queries, and the keys that those see; the last queries come first."""
    for begin in reversed(range(0, T, sizes.ATTENTION_QUERIES)):
        end = min(begin + sizes.ATTENTION_QUERIES, T)
        heads = max(1, sizes.ATTENTION_SCORES // ((end - begin) * end))
        heads = math.ceil(N / math.ceil(N / heads))  # as many each time
        for first in range(0, N, heads):
            yield slice(first, min(first + heads, N)), slice(begin, end), slice(0, end)


def _scores_at_once(N: int, T: int) -> int:
    """The scores of the largest of `_blocks`."""
    of_a_head = min(sizes.ATTENTION_QUERIES, T) * T
    return min(N * of_a_head, max(of_a_head, sizes.ATTENTION_SCORES))


def _probabilities_(scores_NQS: Tensor) -> Tensor:
    """Softmax of the causal scores of the last Q of S tokens, in place."""
    Q = scores_NQS.shape[1]
    scores_NQS[:, :, -Q:] += torch.full((Q, Q), -math.inf, dtype=scores_NQS.dtype).triu_(1)
    return torch.softmax(scores_NQS, -1, out=scores_NQS)


def _product(a_NXY: Tensor, b_NYZ: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """scale * a b, scaled before it is rounded to the operands' dtype: (N, X, Z)."""
    out = a_NXY.new_empty(*a_NXY.shape[:2], b_NYZ.shape[2]) if out is None else out
    return torch.baddbmm(out, a_NXY, b_NYZ, beta=0, alpha=scale, out=out)
