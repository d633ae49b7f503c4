"""Canaries: scores that no step aims at. When one falls, training is losing what the model had, and stops.

The first evaluation of the run says where each canary stood; the ledger is the memory, so a resumed run decides
as an uninterrupted one.
"""

import math
from collections.abc import Iterable, Sequence

from neogpt import ledger
from neogpt.errors import RegressedError
from neogpt.ledger import Row


class Canaries:
    """Watches the scores `names` (NAME, or NAME:low where low is good); `drop` is how far one may worsen."""

    def __init__(self, names: Sequence[str], drop: float) -> None:
        self.drop = drop
        self.signs = ledger.signs(names)
        self.first: Row = {}
        self.good_step: int | None = None

    def recall(self, history: Iterable[Row]) -> None:
        """Take up what a run's ledger says of earlier evaluations; RegressedError when its last one had lost."""
        for row in history:
            if "grad_norm" not in row:
                self.note(row)

    def note(self, row: Row) -> None:
        """An evaluation's row. Errors: ConfigError for a canary that it does not have, RegressedError."""
        if not self.signs:
            return
        if not self.first:
            self._begin(row)
        lost = [line for name in self.signs if (line := self._loss(name, row))]
        if lost:
            raise self._error(row["step"], lost)
        self.good_step = int(row["step"])

    def _begin(self, row: Row) -> None:
        ledger.demand(row, self.signs, "canary")
        self.first = {name: row[name] for name in self.signs}

    def _loss(self, name: str, row: Row) -> str:
        """What was lost, in words; empty when the canary is well."""
        before, now = self.first[name], row.get(name)
        if not isinstance(before, float | int):
            return ""
        if isinstance(now, float | int) and math.isfinite(now):
            worse = self.signs[name] * (before - now)
            if worse <= self.drop + 1e-9:
                return ""
        return f"{name} went from {before:.4g} to {now if now is None else f'{now:.4g}'}"

    def _error(self, step: int, lost: list[str]) -> RegressedError:
        good = "" if self.good_step is None else f"; at step {self.good_step} all were well"
        return RegressedError(
            f"step {step}: {'; '.join(lost)}",
            f"no canary (eval.canaries) to worsen by more than {self.drop:g}{good}",
            "a lower --optim.lr, more --objective.replay, or fewer --steps, in a new --run",
        )
