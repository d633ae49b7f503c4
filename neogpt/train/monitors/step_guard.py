"""Whether a step's update may be applied, decided before it is, from numbers that are equal on all processes."""

import math
from collections import deque
from collections.abc import Iterable

from neogpt.errors import DivergedError

_WINDOW = 128
_FEWEST = 32


class StepGuard:
    """Skips updates from non-finite losses or gradients and, when asked to, from loss spikes.

    The spike rule is OLMo's: a loss more than `spike_sigma` standard deviations above the mean of the last 128.
    Skipped losses count in that mean, so a lasting change of level is accepted in the end. The guard's memory is
    the ledger, so a resumed run decides as an uninterrupted one.
    """

    def __init__(self, spike_sigma: float, patience: int = 3) -> None:
        self.spike_sigma, self.patience = spike_sigma, patience
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        self.non_finite_in_a_row = 0

    def recall(self, rows: Iterable[dict[str, object]]) -> None:
        """Take up the memory that a run's ledger rows hold."""
        for row in rows:
            if "grad_norm" in row:
                self._note(row.get("loss"), row.get("skipped") == "non-finite")

    def check(self, loss: float, norm: float) -> str:
        """ "" when the update may be applied, else why not: "non-finite" or "spike"."""
        finite = math.isfinite(loss) and math.isfinite(norm)
        reason = "" if finite and not self._is_spike(loss) else "spike" if finite else "non-finite"
        self._note(loss if math.isfinite(loss) else None, not finite)
        return reason

    def give_up(self, step: int) -> None:
        """DivergedError after `patience` non-finite steps in a row, of which `step` is the last."""
        if self.non_finite_in_a_row >= self.patience:
            raise DivergedError(
                f"step {step}: the loss or its gradient was not finite for {self.non_finite_in_a_row} steps in a row",
                "finite numbers; the last checkpoint is intact",
                "a lower --optim.lr or more --optim.warmup-ratio",
            )

    def _note(self, loss: object, non_finite: bool) -> None:
        self.non_finite_in_a_row = self.non_finite_in_a_row + 1 if non_finite else 0
        if isinstance(loss, float):
            self.recent.append(loss)

    def _is_spike(self, loss: float) -> bool:
        if not self.spike_sigma or len(self.recent) < _FEWEST:
            return False
        mean = math.fsum(self.recent) / len(self.recent)
        variance = math.fsum((x - mean) ** 2 for x in self.recent) / len(self.recent)
        return loss > mean + self.spike_sigma * math.sqrt(variance)
