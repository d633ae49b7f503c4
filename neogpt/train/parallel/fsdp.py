"""Fully sharded data parallelism: every process holds a part of weights, gradients and optimizer state.

PyTorch's `fully_shard` (FSDP2; Zhao et al. 2023, Rajbhandari et al. 2020 "ZeRO") gathers a block's weights before
they are used, frees them after, and sums the gradient where its part is held. Everything outside a training step
works with a whole model: evaluation, checkpoints.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.model import GPT2
from neogpt.objectives.base import LossTerms, Objective
from neogpt.torch_compat import foreach_mul_, local_part
from neogpt.train.parallel.base import ParallelStrategy, take_gradient
from neogpt.train.parallel.distributed import World
from neogpt.train.parallel.tree import Gradient


class _Root(nn.Module):
    """The whole loss as one module: embeddings and head are gathered while any part of it may need them."""

    def __init__(self, model: GPT2, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """LossTerms as plain dicts: fully_shard hooks the tensors that it finds in tuples and dicts."""
        terms = self.objective.loss(self.model, batch)
        return terms.loss_sum, terms.metrics


class Sharded(ParallelStrategy):
    """Each block is a shard group of its own, embeddings and the last LayerNorm are the root's.

    Half precision comes from autocast as under ddp, so the products have the same bits; weights, gradients and
    their sums are float32.
    """

    def __init__(self, run: AnyRun, model: GPT2, objective: Objective, world: World) -> None:
        super().__init__(run, model, objective, world)
        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in model.transformer.h:
            fully_shard(block, mesh=mesh)
        self.root: Any = fully_shard(_Root(model, objective), mesh=mesh)
        for module in [self.root, *model.transformer.h]:  # sums, never means: the loss has the step's weight
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)

    def loss(self, batch: Batch) -> LossTerms:
        return LossTerms(*self.root(batch))

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        self.root.set_requires_gradient_sync(last)
        self.root.set_is_last_backward(last)
        yield

    def gradient(self) -> Gradient:
        return take_gradient(self.model)

    def clip(self, gradient: Gradient, largest: float) -> Tensor:
        parts = [local_part(tensor) for tensor in gradient]
        mine = torch.nn.utils.get_total_norm(parts).double() ** 2
        norm = self.world.gather_tensor(mine.view(1, 1)).sum().sqrt()
        if largest:
            foreach_mul_(parts, torch.clamp(largest / (norm + 1e-6), max=1.0))
        return norm

    def whole_model(self) -> GPT2:
        with torch.device("meta"):
            model = GPT2(self.model.config)
        state = {name: _whole(tensor).detach() for name, tensor in self.model.state_dict().items()}
        model.load_state_dict(state, assign=True)
        return model.train(self.model.training)

    def to_save(self, optimizer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tensor after tensor, so that no device ever holds more than one of them whole."""
        return self._on_main(self.model.state_dict()), self._on_main(optimizer)

    def _on_main(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, tensor in tensors.items():
            whole = _whole(tensor)
            if self.world.is_main:
                found[name] = whole.detach().cpu()
        return found


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
