"""ddp, exact: one fixed tree of sums, equal bits on any number of processes."""

import contextlib
from collections.abc import Iterator

from neogpt.config import AnyRun
from neogpt.model import GPT2
from neogpt.objectives.base import Objective
from neogpt.train.parallel.base import ParallelStrategy, take_gradient
from neogpt.train.parallel.distributed import World
from neogpt.train.parallel.tree import Gradient, TreeSum


class Exact(ParallelStrategy):
    """Gradients leave the parameters after each micro-batch and are added in the fixed tree (tree.py).

    The backward of every second one adds to the gradient before it, in place: the same sum, a gradient less to hold.
    """

    def __init__(self, run: AnyRun, model: GPT2, objective: Objective, world: World) -> None:
        super().__init__(run, model, objective, world)
        self._total = TreeSum()

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        before = self._total.neighbor()
        for parameter, tensor in zip(self.model.parameters(), before or (), strict=bool(before)):
            parameter.grad = tensor
        yield
        self._total.add(take_gradient(self.model), level=1 if before else 0)

    def gradient(self) -> Gradient:
        total, self._total = self._total, TreeSum()
        return self.world.sum_exact(total.result())
