"""Whether a step's update may be applied, decided before it is, from numbers that are equal on all processes."""

import math
from collections import deque
from collections.abc import Mapping, Sequence

from neogpt.errors import DivergedError
from neogpt.ledger import Row
from neogpt.outcomes import Outcomes
from neogpt.train.monitors.base import NO_SAMPLES, Monitor

_WINDOW = 128
_FEWEST = 32


class StepGuard(Monitor):
    """Skips updates from non-finite losses or gradients and, when asked to, from loss spikes.

    The spike rule is OLMo's: a loss more than `spike_sigma` standard deviations above the mean of the last 128.
    Skipped losses count in that mean, so a lasting change of level is accepted in the end. The guard's memory is
    the ledger, so a resumed run decides as an uninterrupted one.
    """

    def __init__(self, spike_sigma: float, patience: int = 3) -> None:
        self.spike_sigma, self.patience = spike_sigma, patience
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        self.non_finite_in_a_row = 0
        self._step = 0

    def recall(self, history: Sequence[Row]) -> None:
        for row in history:
            self.note(row)

    def skip_reason(self, loss: float, norm: float) -> str:
        """ "" when the update may be applied, else why not: "non-finite" or "spike"."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return "non-finite"
        return "spike" if self._is_spike(loss) else ""

    def note(self, row: Row, samples: Mapping[str, Outcomes] = NO_SAMPLES) -> Row:
        """Only training steps count; a loss that is not finite stays out of the mean."""
        if "grad_norm" in row:
            is_bad, loss, self._step = row.get("skipped") == "non-finite", row.get("loss"), row.get("step", 0)
            self.non_finite_in_a_row = self.non_finite_in_a_row + 1 if is_bad else 0
            if isinstance(loss, float) and math.isfinite(loss):
                self.recent.append(loss)
        return row

    def verdict(self, is_last: bool = False) -> bool:
        """DivergedError after `patience` non-finite steps in a row."""
        if self.non_finite_in_a_row >= self.patience:
            raise DivergedError(
                f"step {self._step}: the loss or its gradient was not finite "
                f"for {self.non_finite_in_a_row} steps in a row",
                "finite numbers; the last checkpoint is intact",
                "a lower --optim.lr or more --optim.warmup-ratio",
                code="run.diverged",
            )
        return False

    def _is_spike(self, loss: float) -> bool:
        if not self.spike_sigma or len(self.recent) < _FEWEST:
            return False
        mean = math.fsum(self.recent) / len(self.recent)
        variance = math.fsum((x - mean) ** 2 for x in self.recent) / len(self.recent)
        return loss > mean + self.spike_sigma * math.sqrt(variance)
