"""Early stopping: the run ends when what its settings watch has not become better for some evaluations."""

import math
from collections.abc import Iterable, Sequence

from neogpt import ledger
from neogpt.config import WATCHED
from neogpt.ledger import Row


class Patience:
    """Counts evaluations since the best one (Prechelt 1998, "Early Stopping - But When?").

    The best is the one with the highest sum of the scores `watch` (see `ledger.total`), the first of equal ones; with
    the usual `watch`, the one with the lowest held-out loss. The metrics ledger is the memory, so a resumed run ends
    where an uninterrupted one does, and a run that has ended so stays ended. What is no number is no progress.
    """

    def __init__(self, patience: int, history: Iterable[Row], watch: Sequence[str] = WATCHED) -> None:
        self.patience, self.watch = patience, watch
        self.best_step: int | None = None
        self.since_best = 0
        self._best = -math.inf
        for row in history:
            self.note(row)

    def note(self, row: Row) -> None:
        """Take in a row of the ledger; only evaluations that have all watched scores count."""
        if "grad_norm" in row or not ledger.signs(self.watch).keys() <= row.keys():
            return
        score = ledger.total(row, self.watch)
        if score > self._best:
            self._best, self.best_step, self.since_best = score, row["step"], 0
        else:
            self.since_best += 1

    @property
    def is_over(self) -> bool:
        """Whether the run should end; never where patience is 0."""
        return 0 < self.patience <= self.since_best
