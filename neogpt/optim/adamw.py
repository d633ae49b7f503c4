"""AdamW (Loshchilov & Hutter 2019): weight decay on matrices and embeddings only."""

import torch

from neogpt.config import OptimConfig

Named = list[tuple[str, torch.nn.Parameter]]


def build(named: Named, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """One fused AdamW over two groups: tensors of two or more dimensions decay, vectors do not."""
    matrices = [p for _, p in named if p.ndim >= 2]
    vectors = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return [
        torch.optim.AdamW(
            groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
        )
    ]
