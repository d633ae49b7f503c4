"""GPT-2, exactly: learned positions, pre-LayerNorm blocks, GELU (tanh), output head tied to the embedding.

Parameters carry the names and the layout of Hugging Face's GPT2LMHeadModel, so that a checkpoint is written
and read without renaming or transposing anything. Source: Radford et al. 2019, "Language Models are
Unsupervised Multitask Learners", and the code published with it.

Shapes: B rows, T tokens of this call, D n_embd, H n_head, K = D / H, V vocab_size.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neogpt.config import GPT2Config
from neogpt.errors import ConfigError
from neogpt.model.documents import Documents
from neogpt.model.kernels import attention, gelu

LAYER_NORM_EPS = 1e-5


class Linear(nn.Module):
    """y = x W + b with W stored (in, out), as GPT-2's checkpoints have it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class Attention(nn.Module):
    """Causal self-attention over all heads at once."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)

    def forward(self, x_BTD: Tensor, documents: Documents | None) -> Tensor:
        qkv_BTE = self.c_attn(x_BTD)
        if documents:
            return self.c_proj(documents.join(attention(documents.spread(qkv_BTE), self.n_head)))
        return self.c_proj(attention(qkv_BTE, self.n_head))


class MLP(nn.Module):
    """Two layers, four times as wide inside."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.c_proj(gelu(self.c_fc(x_BTD)))


class Block(nn.Module):
    """One layer: attention, then MLP, each added to the residual stream."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=LAYER_NORM_EPS)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=LAYER_NORM_EPS)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, documents: Documents | None) -> Tensor:
        x_BTD = x_BTD + self.attn(self.ln_1(x_BTD), documents)
        return x_BTD + self.mlp(self.ln_2(x_BTD))


class Transformer(nn.Module):
    """Embeddings, blocks, final LayerNorm (only a name in the checkpoint; GPT2.hidden runs it)."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd, _weight=_empty(config.vocab_size, config))
        self.wpe = nn.Embedding(config.n_positions, config.n_embd, _weight=_empty(config.n_positions, config))
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=LAYER_NORM_EPS)


class GPT2(nn.Module):
    """A GPT-2 language model, with random weights of `seed` (none on the meta device).

    Source: Radford et al. 2019. Errors: ConfigError for a shape that cannot be (see GPT2Config).
    """

    def __init__(self, config: GPT2Config, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        if not self.transformer.wte.weight.is_meta:
            self.init_weights(seed)

    @property
    def n_params(self) -> int:
        """Trainable numbers; the tied head counts once."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.wte.weight.device

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """int64 (B, T) -> logits (B, T, V) of the next token, in float32 (float64 when the weights are).

        Errors: ConfigError when T is longer than n_positions.
        """
        logits_BTV = F.linear(self.hidden(tokens_BT), self.transformer.wte.weight)
        return logits_BTV if logits_BTV.dtype == torch.float64 else logits_BTV.float()

    def hidden(self, tokens_BT: Tensor, lengths: np.ndarray | Tensor | None = None) -> Tensor:
        """int64 (B, T) -> (B, T, D) after the final LayerNorm: what the tied head is multiplied with.

        `lengths`, int64 (N,): the one row holds N documents of so many tokens, each of which is read alone (see
        `documents.py`); T may then be longer than n_positions.
        """
        documents = None
        if lengths is not None:
            documents = Documents(lengths, tokens_BT.device)
            self._check_length(documents.inside_NL)
            position_embedding = self.transformer.wpe(documents.positions_T)
        else:
            self._check_length(tokens_BT)
            position_embedding = self.transformer.wpe.weight[: tokens_BT.shape[1]]
        x_BTD = self.transformer.wte(tokens_BT) + position_embedding
        for block in self.transformer.h:
            x_BTD = block(x_BTD, documents)
        return self.transformer.ln_f(x_BTD)

    @torch.no_grad()
    def init_weights(self, seed: int, scheme: str = "gpt2") -> None:
        """Set the weights as GPT-2 does; each depends on `seed` and its own name only.

        Normal with deviation 0.02 (positions 0.01); what writes to the residual stream, in attention and
        MLP alike, is scaled by 1/sqrt(2 n_layer) so that the stream's variance does not grow with depth.
        Biases 0, LayerNorm gains 1. Numbers come from NumPy's Philox: the same on every machine and device.
        Scheme zero-residual: those that write to the stream are 0, so that every block begins as the identity
        (Zhang et al. 2019, "Fixup Initialization").
        """
        for name, parameter in self.named_parameters():
            silent = scheme == "zero-residual" and name.endswith("c_proj.weight")
            if name.endswith("bias") or silent:
                parameter.zero_()
            elif ".ln_" in name:
                parameter.fill_(1.0)
            else:
                parameter.copy_(_normal(seed, name, parameter.shape, self._init_std(name)))

    def _init_std(self, name: str) -> float:
        if name.endswith("wpe.weight"):
            return 0.01
        return 0.02 / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 0.02

    def _check_length(self, tokens_BT: Tensor) -> None:
        length = tokens_BT.shape[1]
        if length > self.config.n_positions:
            raise ConfigError(
                f"a sequence of {length} tokens",
                f"at most n_positions = {self.config.n_positions}, the longest context of this model",
                "shorten the input, or train a model with a larger --model.n-positions",
                code="model.sequence_too_long",
            )


def _empty(rows: int, config: GPT2Config) -> Tensor:
    return torch.empty(rows, config.n_embd)


def _normal(seed: int, name: str, shape: torch.Size, std: float) -> Tensor:
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16]
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32)) * std
