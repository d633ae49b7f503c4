"""How a step's gradient comes together from its micro-batches and processes, and where the weights lie.

    ddp, exact   every process holds all weights; one fixed tree of sums, equal bits on any number of processes
    ddp, fast    the same, but summed in buckets while the last micro-batch's backward still runs
    fsdp         every process holds a part of weights, gradients and optimizer state (sharding.py)

The loop sees one interface, `Layout`. Which of them a run uses changes nothing in a checkpoint.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.model import GPT2
from neogpt.objectives._base import LossTerms, Objective
from neogpt.torch_compat import foreach_mul_, foreach_zero_
from neogpt.train.blocks import training_blocks
from neogpt.train.distributed import World
from neogpt.train.tree import Gradient, TreeSum

_BUCKET_BYTES = 2**25


def layout(run: AnyRun, model: GPT2, objective: Objective, world: World) -> "Layout":
    """The run's layout; under fsdp the model's parameters are replaced by this process's parts of them.

    One process has nothing to share out, so fsdp is ddp there.
    """
    if run.parallel == "fsdp" and world.size > 1:
        from neogpt.train.sharding import Sharded

        return Sharded(run, model, objective, world)
    kind = Exact if run.reduction == "exact" else Overlapped
    return kind(run, model, objective, world)


class Layout:
    """A model whose gradient is summed over micro-batches and processes. Here: whole on every process."""

    def __init__(self, run: AnyRun, model: GPT2, objective: Objective, world: World) -> None:
        self.run, self.model, self.objective, self.world = run, model, objective, world

    def loss(self, batch: Batch) -> LossTerms:
        """The objective's loss terms of a micro-batch of tensors, ready for backward."""
        with training_blocks(self.model, self.run):
            return self.objective.loss(self.model, batch)

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """The block in which one micro-batch's forward and backward run; `last` of this process's in the step."""
        yield

    def gradient(self) -> Gradient:
        """The sum over all micro-batches of all processes, taken away from the parameters."""
        raise NotImplementedError

    def clip(self, gradient: Gradient, largest: float) -> float:
        """The norm of the whole gradient, which is scaled down to `largest` (0: left alone) where it is larger."""
        norm = torch.nn.utils.get_total_norm(gradient)
        if largest and not norm + 1e-5 < largest:  # NaN goes on, too
            foreach_mul_(gradient, torch.clamp(largest / (norm + 1e-6), max=1.0))
        return float(norm)

    def whole_model(self) -> GPT2:
        """The model with all its weights on this process's device, for evaluation. Called on all processes."""
        return self.model

    def to_save(self, optimizer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tensors of the model and of the optimizer by name, whole in the main process. Called on all processes."""
        return self.model.state_dict(), optimizer


class Exact(Layout):
    """Gradients leave the parameters after each micro-batch and are added in the fixed tree (tree.py).

    The backward of every second one adds to the gradient before it, in place: the same sum, a gradient less to hold.
    """

    def __init__(self, run: AnyRun, model: GPT2, objective: Objective, world: World) -> None:
        super().__init__(run, model, objective, world)
        self._total = TreeSum()

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        before = self._total.neighbour()
        for parameter, tensor in zip(self.model.parameters(), before or (), strict=bool(before)):
            parameter.grad = tensor
        yield
        self._total.add(take_gradient(self.model), level=1 if before else 0)

    def gradient(self) -> Gradient:
        total, self._total = self._total, TreeSum()
        return self.world.sum_exact(total.result())


class Overlapped(Layout):
    """Gradients add up in place, and are summed over processes in buckets while the last backward still runs.

    The scheme of Li et al. 2020, "PyTorch Distributed" (DistributedDataParallel), with one difference: the buckets
    are fixed by the order of the parameters and not by what the first backward was seen to do, so a resumed run
    adds in the same order as an uninterrupted one on as many processes.
    """

    def __init__(self, run: AnyRun, model: GPT2, objective: Objective, world: World) -> None:
        super().__init__(run, model, objective, world)
        self.parameters = list(model.parameters())
        self._buckets: list[Tensor] = []
        self._views: dict[Tensor, Tensor] = {}
        self._bucket_of: dict[Tensor, int] = {}
        self._fill_buckets()
        self._works: list[dist.Work] = []
        self._missing: list[int] = []
        for parameter in self.parameters:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def _fill_buckets(self) -> None:
        """Flat buffers over the parameters in reverse, about the order in which a backward is done with them."""
        limit = _BUCKET_BYTES // self.parameters[0].element_size()
        groups: list[list[Tensor]] = [[]]
        for parameter in reversed(self.parameters):
            if groups[-1] and sum(p.numel() for p in groups[-1]) + parameter.numel() > limit:
                groups.append([])
            groups[-1].append(parameter)
        for number, group in enumerate(groups):
            flat = torch.zeros(sum(p.numel() for p in group), dtype=group[0].dtype, device=group[0].device)
            parts = flat.split([p.numel() for p in group])
            self._views |= {p: part.view_as(p) for p, part in zip(group, parts, strict=True)}
            self._bucket_of |= dict.fromkeys(group, number)
            self._buckets.append(flat)

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        if self.parameters[0].grad is None:  # the step's first: gradients begin at 0, inside the buckets
            foreach_zero_(self._buckets)
            for parameter in self.parameters:
                parameter.grad = self._views[parameter]
        if last and self.world.size > 1:
            self._missing = [0] * len(self._buckets)
            for number in self._bucket_of.values():
                self._missing[number] += 1
        yield

    def _arrived(self, parameter: Tensor) -> None:
        """A gradient is complete (called by the backward): send off every bucket whose turn it is.

        Always in the same order, as all processes must agree on it.
        """
        if not self._missing:
            return
        self._missing[self._bucket_of[parameter]] -= 1
        while len(self._works) < len(self._buckets) and self._missing[len(self._works)] == 0:
            self._send()

    def _send(self) -> None:
        work = dist.all_reduce(self._buckets[len(self._works)], async_op=True)
        assert work is not None
        self._works.append(work)

    def gradient(self) -> Gradient:
        while self._missing and len(self._works) < len(self._buckets):
            self._send()  # a parameter that the loss did not touch leaves its bucket waiting
        for work in self._works:
            work.wait()
        self._works, self._missing = [], []
        return take_gradient(self.model)


def take_gradient(model: GPT2) -> Gradient:
    """The parameters' gradients, taken away from them (so that the next backward starts afresh)."""
    taken = []
    for parameter in model.parameters():
        taken.append(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
        parameter.grad = None
    return taken
