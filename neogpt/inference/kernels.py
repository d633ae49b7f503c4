"""Attention and GELU of the few tokens that generation adds at a time, without gradients.

Shapes: B rows, T new tokens, S the keys they see, H heads, K head size.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt.model.kernels import GELU_CUBIC, GELU_ELEMENTS, GELU_LINEAR
from neogpt.model.tensors import wide


def cached_attention(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of T new tokens to S keys, their own among them: (B, H, T, K).

    `mask` is added to the scores; None: causal where T is S, and where T is 1 all keys are seen. On CPUs one
    query a head is two batched products, which take less time than PyTorch's fused attention.
    """
    T = q_BHTK.shape[2]
    if T > 1 or q_BHTK.device.type != "cpu":
        is_causal = mask is None and T > 1
        return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=mask, is_causal=is_causal)
    scores_BHTS = (q_BHTK / math.sqrt(q_BHTK.shape[3])) @ k_BHSK.mT
    if mask is not None:
        scores_BHTS += mask
    return scores_BHTS.softmax(-1) @ v_BHSK


def gelu_of_few(x: Tensor) -> Tensor:
    """GELU as the sigmoid of `gelu`, without gradients: faster on CPUs while the numbers stay in their cache."""
    if x.device.type != "cpu" or x.numel() > GELU_ELEMENTS:
        return F.gelu(x, approximate="tanh")
    wide_x = x.to(wide(x.dtype))
    slope = torch.full((), GELU_LINEAR, dtype=wide_x.dtype)
    two_u = torch.addcmul(slope, wide_x, wide_x, value=GELU_CUBIC).mul_(wide_x)
    return two_u.sigmoid_().mul_(wide_x).to(x.dtype)
