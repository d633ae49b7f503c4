"""The batches of a step, made by a thread while the step before computes."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from neogpt.data.batch import Batch
from neogpt.objectives.base import Objective

StepBatches = tuple[list[Batch], list[dict[str, float]]]
"""A process's micro-batches of one step, and the loss denominators of each."""


class BatchQueue:
    """Gives the micro-batches `micros` of a step and begins with those of the next, up to step `steps`.

    What a step sees is a pure function of (config, step), so it does not matter when it is made: the bits are the
    same. Batches of an objective that runs the live model (`holds_model`) are made when they are asked for. An error
    is raised at the step that it belongs to.
    """

    def __init__(self, objective: Objective, micros: Sequence[int]) -> None:
        self.objective, self.micros = objective, micros
        self._worker = ThreadPoolExecutor(1, "batches")
        self._next: tuple[int, Future[StepBatches]] | None = None

    def get(self, step: int, steps: int) -> StepBatches:
        """The micro-batches of this process in update number `step` of `steps`."""
        ahead, self._next = self._next, None
        found = ahead[1].result() if ahead and ahead[0] == step else self._make(step)
        if step + 1 < steps and not self.objective.holds_model:
            self._next = step + 1, self._worker.submit(self._make, step + 1)
        return found

    def _make(self, step: int) -> StepBatches:
        batches = [self.objective.batch(step, micro) for micro in self.micros]
        return batches, [self.objective.loss_denominators(batch) for batch in batches]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is being made; nobody will ask for it, so its error is nobody's."""
        self._worker.shutdown(cancel_futures=True)
