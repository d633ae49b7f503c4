"""The forward pass behind a key-value cache, without gradients: for sampling, and for texts that share a beginning.

A step of sampling adds one token a row. Its products are so small that looking up modules and casting weights
would cost as much again, so both are done once beforehand. Same arithmetic as `model/gpt2.py`.

Shapes: B rows, T tokens of this call, S keys that they look at, D n_embd, H heads, K head size, V vocabulary.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neogpt.inference.kernels import cached_attention, gelu_of_few
from neogpt.inference.kv_cache import KVCache
from neogpt.model.gpt2 import GPT2
from neogpt.model.kernels import by_heads, merge_heads

Affine = tuple[Tensor, Tensor]
"""Weight (out, in) and bias of a product."""
Norm = tuple[tuple[int, ...], Tensor, Tensor, float]
"""Width, weight, bias and epsilon of a LayerNorm."""


class _Layer(NamedTuple):
    ln_1: Norm
    c_attn: Affine
    attn_proj: Affine
    ln_2: Norm
    c_fc: Affine
    mlp_proj: Affine


class Inference:
    """A model's weights as they are now, ready to be multiplied; with `dtype`, products run in it.

    What is not cast shares the model's memory; a cast copy does not follow later updates of the model. LayerNorm
    and the residual stream stay in the weights' own precision, as under autocast.
    """

    def __init__(self, model: GPT2, dtype: torch.dtype | None = None) -> None:
        transformer = model.transformer
        self._n_head = model.config.n_head
        self._wte_VD, self._wpe_SD = transformer.wte.weight.detach(), transformer.wpe.weight.detach()
        self._head_VD = self._wte_VD.to(dtype or self._wte_VD.dtype)
        self._layers = [_layer(block, self._head_VD.dtype) for block in transformer.h]
        self._ln_f = _norm(transformer.ln_f)

    @property
    def cache_dtype(self) -> torch.dtype:
        """Of keys and values: the products'; on CPUs, whose half-precision attention is slow, at least float32."""
        dtype = self._head_VD.dtype
        return torch.promote_types(dtype, torch.float32) if self._head_VD.device.type == "cpu" else dtype

    def hidden(self, tokens_BT: Tensor, cache: KVCache) -> Tensor:
        """int64 (B, T) -> (B, T, D) after the final LayerNorm; the tokens follow what each row of the cache holds.

        Call `cache.advance` afterwards.
        """
        T = tokens_BT.shape[1]
        x_BTD = F.embedding(tokens_BT, self._wte_VD) + F.embedding(cache.positions(T), self._wpe_SD)
        mask = _additive(cache.mask(T), cache.dtype)
        for i, layer in enumerate(self._layers):
            qkv_BTE = _product(F.layer_norm(x_BTD, *layer.ln_1), layer.c_attn)
            qkv_3BHTK = by_heads(qkv_BTE, self._n_head)
            k_BHSK, v_BHSK = cache.update(i, qkv_3BHTK[1:])
            y_BHTK = cached_attention(qkv_3BHTK[0].to(k_BHSK.dtype), k_BHSK, v_BHSK, mask)
            x_BTD = x_BTD + _product(merge_heads(y_BHTK), layer.attn_proj)
            y_BTF = gelu_of_few(_product(F.layer_norm(x_BTD, *layer.ln_2), layer.c_fc))
            x_BTD = x_BTD + _product(y_BTF, layer.mlp_proj)
        return F.layer_norm(x_BTD, *self._ln_f)

    def logits(self, x_RD: Tensor) -> Tensor:
        """The tied head: (..., D) -> (..., V), in float32."""
        return F.linear(x_RD.to(self._head_VD.dtype), self._head_VD).float()


def _layer(block: Any, dtype: torch.dtype) -> _Layer:
    c_attn, attn_proj, c_fc, mlp_proj = (
        (linear.weight.detach().to(dtype).t(), linear.bias.detach().to(dtype))
        for linear in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
    )
    ln_1, ln_2 = _norm(block.ln_1), _norm(block.ln_2)
    return _Layer(ln_1, c_attn, attn_proj, ln_2, c_fc, mlp_proj)


def _norm(norm: nn.LayerNorm) -> Norm:
    return norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps


def _product(x: Tensor, affine: Affine) -> Tensor:
    return F.linear(x.to(affine[0].dtype), *affine)


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to scores: 0 where a key is seen, else minus infinity; once, not in each layer."""
    if mask is None:
        return None
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
