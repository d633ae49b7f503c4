"""Early stopping: the run ends when its held-out loss has not fallen for some evaluations."""

import math
from collections.abc import Iterable
from typing import Any


class Patience:
    """Counts evaluations since the lowest held-out loss (Prechelt 1998, "Early Stopping - But When?").

    Its memory is the metrics ledger, so a resumed run ends where an uninterrupted one does, and a run that has
    ended so stays ended. A loss that is not finite is no lower than any other.
    """

    def __init__(self, patience: int, history: Iterable[dict[str, Any]]) -> None:
        self.patience = patience
        self.best_step: int | None = None
        self.since_best = 0
        self._lowest = math.inf
        for row in history:
            self.note(row)

    def note(self, row: dict[str, Any]) -> None:
        """Take in a row of the ledger; only evaluations count."""
        if "grad_norm" in row or "val_loss" not in row:
            return
        loss = row["val_loss"]
        if isinstance(loss, float) and loss < self._lowest:
            self._lowest, self.best_step, self.since_best = loss, row["step"], 0
        else:
            self.since_best += 1

    @property
    def is_over(self) -> bool:
        """Whether the run should end; never where patience is 0."""
        return 0 < self.patience <= self.since_best
