"""A plain PyTorch GPT-2 and its step, in the manner of nanoGPT: what most people would write themselves.

Written here for comparison, after the structure of nanoGPT's model.py and train.py (Karpathy 2022), with the tanh
form of GELU, as GPT-2 has it. Shapes: B rows, T tokens, D width, H heads, V vocabulary.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.n_head = n_head

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.c_attn(x).split(D, dim=2)
        q, k, v = (t.view(B, T, self.n_head, D // self.n_head).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, D))


class MLP(nn.Module):
    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention(n_embd, n_head)
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = MLP(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """tokens, targets (B, T) -> logits (B, T, V) and the mean loss; the head is tied to the embedding."""

    def __init__(self, n_layer: int, n_head: int, n_embd: int, n_positions: int, vocab_size: int) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab_size, n_embd),
                "wpe": nn.Embedding(n_positions, n_embd),
                "h": nn.ModuleList([Block(n_embd, n_head) for _ in range(n_layer)]),
                "ln_f": nn.LayerNorm(n_embd),
            }
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        pos = torch.arange(idx.shape[1], device=idx.device)
        x = self.transformer["wte"](idx) + self.transformer["wpe"](pos)
        for block in self.transformer["h"]:
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


def from_pretrained(folder: Path, shape: dict[str, int]) -> GPT:
    """The model of a Hugging Face folder, whose matrices are stored the other way round."""
    model = GPT(**shape)
    tensors = linear_layout(load_file(folder / "model.safetensors"))
    model.load_state_dict(tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    return model


def linear_layout(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors by parameters' names, with GPT-2's (in, out) matrices turned into nn.Linear's (out, in)."""
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {
        f"transformer.{name.removeprefix('transformer.')}": t.t().contiguous() if name.endswith(turned) else t
        for name, t in tensors.items()
    }


def adamw(model: nn.Module, lr: float, betas: tuple[float, float], decay: float) -> torch.optim.AdamW:
    """AdamW, fused, which decays what has two dimensions or more."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True)


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: Iterator[tuple[Tensor, Tensor]],
    accumulate: int,
    autocast: torch.autocast,
    lr: float,
    clip: float,
) -> float:
    """One update, as nanoGPT's train.py takes it; the step's loss."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    losses = []
    for _ in range(accumulate):
        tokens, targets = next(micro_batches)
        with autocast:
            _, loss = model(tokens, targets)
            loss = loss / accumulate
        loss.backward()
        losses.append(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return math.fsum(loss.item() for loss in losses)
