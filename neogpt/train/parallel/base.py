"""The interface through which the loop sees a model whose gradient is summed over processes."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.model import GPT2
from neogpt.objectives.base import LossTerms, Objective
from neogpt.torch_compat import foreach_mul_
from neogpt.train.parallel.blocks import set_up_blocks
from neogpt.train.parallel.distributed import World
from neogpt.train.parallel.tree import Gradient


class ParallelStrategy:
    """A model whose gradient is summed over micro-batches and processes. Here: whole on every process."""

    def __init__(self, run: AnyRun, model: GPT2, objective: Objective, world: World) -> None:
        self.run, self.model, self.objective, self.world = run, model, objective, world
        set_up_blocks(model, run)

    def loss(self, batch: Batch) -> LossTerms:
        """The objective's loss terms of a micro-batch of tensors, ready for backward."""
        return self.objective.loss(self.model, batch)

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """The block in which one micro-batch's forward and backward run; `last` of this process's in the step."""
        yield

    def gradient(self) -> Gradient:
        """The sum over all micro-batches of all processes, taken away from the parameters."""
        raise NotImplementedError

    def clip(self, gradient: Gradient, largest: float) -> Tensor:
        """The norm of the whole gradient, which is scaled down to `largest` (0: left alone) where it is larger.

        A number on the device, the same in every process; nothing is read from there.
        """
        norm = torch.nn.utils.get_total_norm(gradient)
        # Where reading costs nothing, a factor of 1 is left out. NaN goes on, too.
        if largest and (self.world.runs_ahead or not norm + 1e-5 < largest):
            foreach_mul_(gradient, torch.clamp(largest / (norm + 1e-6), max=1.0))
        return norm

    def whole_model(self) -> GPT2:
        """The model with all its weights on this process's device, for evaluation. Called on all processes."""
        return self.model

    def to_save(self, optimizer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tensors of the model and of the optimizer by name, whole in the main process. Called on all processes."""
        return self.model.state_dict(), optimizer


def take_gradient(model: GPT2) -> Gradient:
    """The parameters' gradients, taken away from them (so that the next backward starts afresh)."""
    taken = []
    for parameter in model.parameters():
        taken.append(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
        parameter.grad = None
    return taken
