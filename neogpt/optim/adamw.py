"""AdamW (Loshchilov & Hutter 2019): weight decay on matrices and embeddings only."""

from typing import Any

import torch
from torch.optim.adamw import adamw

from neogpt.config import OptimConfig
from neogpt.optim.base import Named, Optimizer


def build(named: Named, config: OptimConfig, dtype: torch.dtype = torch.float32) -> list[Optimizer]:
    """One fused AdamW over two groups: tensors of two or more dimensions decay, vectors do not. `dtype` is idle."""
    matrices = [p for _, p in named if p.ndim >= 2]
    vectors = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return [AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)]


class AdamW(Optimizer):
    """PyTorch's fused update, to the bit what torch.optim.AdamW does with it."""

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            self._update([p for p in group["params"] if p.grad is not None], group)

    def _update(self, parameters: list[torch.nn.Parameter], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,  # type: ignore[arg-type]
            [parameter.grad for parameter in parameters],  # type: ignore[misc]
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            found_inf=self.found_inf,
        )
