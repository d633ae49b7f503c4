"""AdamW (Loshchilov & Hutter 2019): weight decay on matrices and embeddings only."""

from typing import Any, cast

import torch

from neogpt import torch_compat
from neogpt.config import OptimConfig
from neogpt.optim.base import Named, Optimizer, Rule


def build(named: Named, config: OptimConfig, dtype: torch.dtype = torch.float32) -> list[Rule]:
    """One fused AdamW over two groups: tensors of two or more dimensions decay, vectors do not. `dtype` is idle.

    Where PyTorch's update cannot be had as a function it is torch.optim.AdamW itself, to the same bits.
    """
    matrices = [p for _, p in named if p.ndim >= 2]
    vectors = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (config.beta1, config.beta2)
    if torch_compat.adamw is None:
        theirs = torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)
        theirs.found_inf = None  # type: ignore[attr-defined]  # what torch.amp sets, and its fused step reads
        return [cast(Rule, theirs)]
    return [AdamW(groups, lr=config.lr, betas=betas, eps=config.eps)]


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
        assert torch_compat.adamw
        torch_compat.adamw(
            parameters,
            [parameter.grad for parameter in parameters],
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
