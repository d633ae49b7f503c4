"""Early stopping: the run ends when its best metric has not become better for some evaluations."""

import math
from collections.abc import Mapping, Sequence

from neogpt import ledger
from neogpt.config import BEST_METRIC
from neogpt.ledger import Row
from neogpt.outcomes import Outcomes
from neogpt.train.monitors.base import NO_SAMPLES, Monitor


class EarlyStopping(Monitor):
    """Counts evaluations since the best one (Prechelt 1998, "Early Stopping - But When?").

    The best is the one with the highest sum of the scores `best_metric` (see `ledger.total`), the first of equal ones;
    by default, the one with the lowest held-out loss. The metrics ledger is the memory, so a resumed run ends where an
    uninterrupted one does, and a run that has ended so stays ended. What is no number is no progress.
    """

    def __init__(self, patience: int, best_metric: Sequence[str] = BEST_METRIC) -> None:
        self.patience, self.best_metric = patience, best_metric
        self.best_step: int | None = None
        self.since_best = 0
        self._best = -math.inf

    def recall(self, history: Sequence[Row]) -> None:
        for row in history:
            self.note(row)

    def note(self, row: Row, samples: Mapping[str, Outcomes] = NO_SAMPLES) -> Row:
        """Only evaluations that have all watched scores count."""
        if "grad_norm" in row or not ledger.signs(self.best_metric).keys() <= row.keys():
            return row
        score = ledger.total(row, self.best_metric)
        if score > self._best:
            self._best, self.best_step, self.since_best = score, row["step"], 0
        else:
            self.since_best += 1
        return row

    def verdict(self, is_last: bool = False) -> bool:
        """True once the patience is used up; never where it is 0."""
        return 0 < self.patience <= self.since_best
