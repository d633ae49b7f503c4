"""ddp, fast: gradients summed in buckets while the last micro-batch's backward still runs."""

import contextlib
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from neogpt.config import AnyRun
from neogpt.model import GPT2
from neogpt.objectives.base import Objective
from neogpt.torch_compat import foreach_zero_
from neogpt.train.parallel.base import ParallelStrategy, take_gradient
from neogpt.train.parallel.distributed import World
from neogpt.train.parallel.tree import Gradient

_BUCKET_BYTES = 2**25


class Overlapped(ParallelStrategy):
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
