"""Muon: momentum whose matrices are made orthogonal (Jordan et al. 2024); AdamW for everything else.

The blocks' weight matrices follow W <- W - lr * 0.2 * sqrt(max(n, m)) * orthogonal(momentum). With that factor an
update has the size of AdamW's, so one learning rate serves both (Liu et al. 2025, "Muon is Scalable for LLM
Training"). Query, key and value are three matrices here although GPT-2 stores them as one. Matrices of one
shape are made orthogonal together, in one batch.
"""

from typing import Any

import torch
from torch import Tensor

from neogpt.config import OptimConfig
from neogpt.optim import adamw
from neogpt.optim._rows import apply_whole
from neogpt.optim.base import Named, Optimizer, Rule
from neogpt.torch_compat import foreach_add_, foreach_lerp, foreach_lerp_, foreach_mul_, local_part

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def build(named: Named, config: OptimConfig, dtype: torch.dtype = torch.bfloat16) -> list[Rule]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and LayerNorms.

    `dtype`: of the products that make matrices orthogonal, which is accurate enough in bfloat16. A processor
    without instructions for it takes three times as long as in float32.
    """
    matrices = [(name, p) for name, p in named if p.ndim == 2 and ".h." in name]
    rest = [(name, p) for name, p in named if not (p.ndim == 2 and ".h." in name)]
    fused = [p for name, p in matrices if "c_attn" in name]
    plain = [p for name, p in matrices if "c_attn" not in name]
    groups = [{"params": fused, "parts": 3}, {"params": plain, "parts": 1}]
    muon = Muon(
        [group for group in groups if group["params"]],
        lr=config.lr,
        momentum=config.muon_momentum,
        weight_decay=config.weight_decay,
        dtype=dtype,
    )
    others = adamw.build(rest, config)
    for group in others[0].param_groups:
        is_vectors = group["params"][0].ndim < 2
        group["lr_scale"] = config.vector_lr_scale if is_vectors else config.embedding_lr_scale
    return [muon, *others]


class Muon(Optimizer):
    """Nesterov momentum, orthogonalized; a group's `parts` says how many matrices lie side by side in one."""

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [local_part(self.state[p]["momentum_buffer"]) for p in parameters]
        gradients = [local_part(p.grad) for p in parameters if p.grad is not None]
        keep: Tensor | float = 1.0
        if (
            self.found_inf is not None
        ):  # the host does not know: a skipped step adds what is there already, and zeros
            is_skipped, keep = self.found_inf.bool(), 1 - self.found_inf
            gradients = [torch.where(is_skipped, *pair) for pair in zip(buffers, gradients, strict=True)]
        foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        nesterov = foreach_lerp(gradients, buffers, group["momentum"])
        updates = _directions(torch.stack(nesterov), parameters[0], group["parts"], group["dtype"])
        if self.found_inf is not None:
            updates = updates * keep
        scale = 0.2 * max(parameters[0].shape[0], parameters[0].shape[1] // group["parts"]) ** 0.5
        held = [local_part(p) for p in parameters]
        foreach_mul_(held, 1 - keep * (group["lr"] * group["weight_decay"]))
        foreach_add_(held, list(updates.unbind(0)), alpha=-group["lr"] * scale)


def _directions(m_NRC: Tensor, like: Tensor, parts: int, dtype: torch.dtype) -> Tensor:
    """`orthogonal` of matrices with `parts` side by side in each; where `like` is sharded, of this process's rows."""

    def rule(whole_NRC: Tensor) -> Tensor:
        pieces = whole_NRC.unflatten(2, (parts, -1)).transpose(1, 2)
        directions = orthogonal(pieces.flatten(0, 1), dtype).unflatten(0, pieces.shape[:2])
        return directions.transpose(1, 2).flatten(2).to(whole_NRC.dtype)

    mesh = getattr(like, "device_mesh", None)
    return apply_whole(rule, m_NRC, like.shape[0], mesh.get_group()) if mesh else rule(m_NRC)


def orthogonal(m_NRC: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Nearly U V^T of each matrix U S V^T: singular values fall between about 0.7 and 1.2; `dtype` (N, R, C).

    Five Newton-Schulz iterations of an odd polynomial that pushes all singular values towards 1.
    """
    a, b, c = _COEFFICIENTS
    x = m_NRC.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
