"""Guardrails: scores that no step aims at. When one falls, training is losing what the model had, and stops.

The first evaluation of the run says where each guardrail stood; the ledger is the memory, so a resumed run decides
as an uninterrupted one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from neogpt import ledger
from neogpt.errors import ConfigError, RegressedError
from neogpt.ledger import Row


@dataclass(frozen=True)
class Guardrail:
    """One score: 1 where high is good and -1 where low is, and how far it may worsen."""

    sign: int
    limit: float


class Guardrails:
    """Watches scores, named NAME, or NAME:low where low is good, each with :LIMIT where it is not `drop`.

    A score whose row has a standard error (NAME_stderr) may worsen by as much, where that is more: of 32 requests
    two are twice `drop`, and mean nothing.

    Errors: ConfigError for a guardrail that is not written so.
    """

    def __init__(self, names: Sequence[str], drop: float) -> None:
        self.watched = dict(_read(name, drop) for name in names)
        self.first: Row = {}
        self.allowed: dict[str, float] = {}
        self.good_step: int | None = None

    def recall(self, history: Iterable[Row]) -> None:
        """Take up what a run's ledger says of earlier evaluations; RegressedError when its last one had lost."""
        for row in history:
            if "grad_norm" not in row:
                self.note(row)

    def note(self, row: Row) -> None:
        """An evaluation's row. Errors: ConfigError for a guardrail that has no number at first, RegressedError."""
        if not self.watched:
            return
        if not self.first:
            self._begin(row)
        lost = [name for name in self.watched if self._is_lost(name, row)]
        if lost:
            raise self._error(row, lost)
        self.good_step = int(row["step"])

    def _begin(self, row: Row) -> None:
        ledger.demand(row, self.watched, "guardrail")
        for name in self.watched:
            if not _is_number(row[name]):
                raise ConfigError(
                    f"the guardrail {name} is {row[name]} at the run's first evaluation: nothing to compare with",
                    "a score that has a number from the start",
                    "--eval.guardrails without it",
                )
        self.first = {name: row[name] for name in self.watched}
        self.allowed = {name: self._allowed(name, row) for name in self.watched}

    def _allowed(self, name: str, row: Row) -> float:
        error = row.get(f"{name}_stderr")
        return max(self.watched[name].limit, float(error) if _is_number(error) else 0.0)

    def _is_lost(self, name: str, row: Row) -> bool:
        before, now = self.first[name], row.get(name)
        return not _is_number(now) or self.watched[name].sign * (before - now) > self.allowed[name] + 1e-9

    def _error(self, row: Row, lost: list[str]) -> RegressedError:
        told = [f"{name} went from {_said(self.first[name])} to {_said(row.get(name))}" for name in lost]
        limits = [f"{name} to worsen by at most {_said(self.allowed[name])}" for name in lost]
        good = "" if self.good_step is None else f"; at step {self.good_step} all were well"
        return RegressedError(
            f"step {row['step']}: {'; '.join(told)}",
            f"the guardrails (eval.guardrails) as they were: {', '.join(limits)}{good}",
            "a lower --optim.lr, more --objective.sft-coef, or fewer --steps, in a new --run",
        )


def _read(entry: str, drop: float) -> tuple[str, Guardrail]:
    """The name and the guardrail that an entry of `eval.guardrails` means."""
    name, *how = entry.split(":")
    sign = -1 if how[:1] == ["low"] else 1
    limits = how[1:] if sign < 0 else how
    try:
        limit = float(limits[0]) if limits else drop
    except ValueError:
        limit = math.nan
    if not name or len(limits) > 1 or not 0 <= limit < math.inf:
        raise ConfigError(f"the guardrail {entry!r} says nothing", "NAME, NAME:low, NAME:0.2 or NAME:low:0.2")
    return name, Guardrail(sign, limit)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and math.isfinite(value)


def _said(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
