"""Guardrails: scores that no step aims at. When one falls, training is losing what the model had, and stops.

The first evaluation of the run says where each guardrail stood, sample by sample where the score has samples; that is
kept beside the ledger, so a resumed run decides as an uninterrupted one.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np

from neogpt import atomic, ledger
from neogpt.errors import ConfigError, RegressedError
from neogpt.ledger import REGRESSED, Row
from neogpt.outcomes import Outcomes
from neogpt.train.monitors.base import NO_SAMPLES, Monitor

SURE = 1.645
"""Standard errors by which a score must have worsened beyond its tolerance: one-sided, 5 % by chance."""


@dataclass(frozen=True)
class Guardrail:
    """One score: 1 where high is good and -1 where low is, and how far it may worsen."""

    sign: int
    tolerance: float


class Guardrails(Monitor):
    """Watches scores, named NAME, or NAME:low where low is good, each with :TOLERANCE where it is not `tolerance`.

    A score is lost when it has worsened by more than its tolerance, and that by more than chance explains: the
    samples of both evaluations are compared one by one (`outcomes.Outcomes.change_since`), and the worsening beyond
    the tolerance must be `SURE` standard errors. A score without samples may worsen by its own standard error
    (NAME_stderr in the row) where that is more than the tolerance.

    `path`: the file that keeps the first evaluation's samples. `decides`: whether this process has all scores; only
    the main one does, and says what it found to the others. Errors: ConfigError for a name that is not written so.
    """

    def __init__(self, names: Sequence[str], tolerance: float, path: Path, decides: bool = True) -> None:
        self.watched = dict(_read(name, tolerance) for name in names)
        self.path, self.decides = path, decides
        self.first: Row = {}
        self.good_step: int | None = None
        self._samples: dict[str, Outcomes] = {}
        self._error: RegressedError | None = None

    def recall(self, history: Sequence[Row]) -> None:
        """Take up what a run's ledger says of earlier evaluations; RegressedError when its last one had lost."""
        rows = [row for row in history if "grad_norm" not in row] if self.watched else []
        if rows:
            self._begin(rows[0])
            self._samples = _load(self.path)
        for row in rows:
            self._judge(row)
            self.verdict()

    def note(self, row: Row, samples: Mapping[str, Outcomes] = NO_SAMPLES) -> Row:
        """The evaluation's row with the names of the guardrails that it lost, if it lost any.

        Errors: ConfigError for a guardrail that is no number at the run's first evaluation.
        """
        if not (self.watched and self.decides) or "grad_norm" in row:
            return row
        if not self.first:
            self._begin(row)
            self._samples = {name: samples[name] for name in self.watched if name in samples}
            _save(self.path, self._samples)
        lost = [name for name in self.watched if self._is_lost(name, row, samples.get(name))]
        row = {**row, REGRESSED: lost} if lost else row
        self._judge(row)
        return row

    def verdict(self, is_last: bool = False) -> bool:
        """RegressedError where the last evaluation lost a guardrail."""
        if self._error:
            raise self._error
        return False

    def _judge(self, row: Row) -> None:
        lost = row.get(REGRESSED)
        self._error = self._regressed(row, lost) if lost else None
        if not lost:
            self.good_step = int(row["step"])

    def _begin(self, row: Row) -> None:
        ledger.demand(row, self.watched, "guardrail")
        for name in self.watched:
            if not _is_number(row[name]):
                raise ConfigError(
                    f"the guardrail {name} is {row[name]} at the first evaluation, so its loss would not be seen",
                    "a score that has a number from the start",
                    "--eval.guardrails without it",
                    code="config.useless_guardrail",
                )
        self.first = {name: row[name] for name in self.watched}

    def _is_lost(self, name: str, row: Row, now: Outcomes | None) -> bool:
        rail, value = self.watched[name], row.get(name)
        if not _is_number(value):
            return True
        before = self._samples.get(name)
        if now is not None and before is not None and len(now.sums) == len(before.sums):
            change, error = now.change_since(before)
            return -rail.sign * change - SURE * error > rail.tolerance + 1e-9
        own = row.get(f"{name}_stderr")
        allowed = max(rail.tolerance, float(own) if _is_number(own) else 0.0)
        return rail.sign * (self.first[name] - value) > allowed + 1e-9

    def _regressed(self, row: Row, lost: Sequence[str]) -> RegressedError:
        told = [f"{name} went from {_said(self.first.get(name))} to {_said(row.get(name))}" for name in lost]
        limits = [f"{name} to worsen by at most {_said(self.watched[name].tolerance)}" for name in lost]
        good = "" if self.good_step is None else f"; the run stands at step {self.good_step}, where all held"
        return RegressedError(
            f"step {row['step']}: {'; '.join(told)}",
            f"the guardrails (eval.guardrails) to hold: {', '.join(limits)}, chance apart{good}",
            "a lower --optim.lr, more --objective.sft-coef, or fewer --steps, in a new --run",
            code="run.guardrail_lost",
        )


def _save(path: Path, samples: Mapping[str, Outcomes]) -> None:
    rows = [{"name": k, "sums": v.sums.tolist(), "weights": v.weights.tolist()} for k, v in samples.items()]
    atomic.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _load(path: Path) -> dict[str, Outcomes]:
    return {
        row["name"]: Outcomes(np.array(row["sums"], np.float64), np.array(row["weights"], np.float64))
        for row in ledger.read(path)
    }


def _read(entry: str, tolerance: float) -> tuple[str, Guardrail]:
    """The name and the guardrail that an entry of `eval.guardrails` means."""
    name, *how = entry.split(":")
    sign = -1 if how[:1] == ["low"] else 1
    limits = how[1:] if sign < 0 else how
    try:
        limit = float(limits[0]) if limits else tolerance
    except ValueError:
        limit = math.nan
    if not name or len(limits) > 1 or not 0 <= limit < math.inf:
        raise ConfigError(
            f"the guardrail {entry!r} cannot be read",
            "NAME, NAME:low, NAME:0.2 or NAME:low:0.2",
            code="config.bad_guardrail",
        )
    return name, Guardrail(sign, limit)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and math.isfinite(value)


def _said(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
