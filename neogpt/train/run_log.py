"""What a run writes down while it goes on: its ledgers, its samples, and those who are shown each row."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from neogpt import atomic, checkpoint, ledger
from neogpt.ledger import Row
from neogpt.paths import RunDir


class Tracker(Protocol):
    """Somebody who watches a run: a progress line, a tracker."""

    def row(self, row: Row) -> None:
        """A new row of the metrics ledger."""

    def event(self, event: Row) -> None:
        """A new row of the events ledger."""


class RunLog:
    """The ledgers of the run in `files`; in other processes than the main one nothing is written or told.

    Errors: CheckpointError where the disk refuses a row.
    """

    def __init__(self, files: RunDir, is_main: bool, trackers: Sequence[Tracker] = ()) -> None:
        self.files, self.is_main, self.trackers = files, is_main, trackers

    def row(self, row: Row) -> None:
        """A row of the metrics ledger; NaN and infinities are null there."""
        if self.is_main:
            row = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            with checkpoint.disk_errors(self.files, "the ledger"):
                ledger.append(self.files.metrics, row)
            for tracker in self.trackers:
                tracker.row(row)

    def event(self, name: str, **values: Any) -> None:
        """A row of the events ledger, with the time."""
        if self.is_main:
            event = {"time": round(time.time(), 3), "event": name, **values}
            with checkpoint.disk_errors(self.files, "the ledger"):
                ledger.append(self.files.events, event)
            for tracker in self.trackers:
                tracker.event(event)

    def samples(self, step: int, rows: Sequence[Row]) -> None:
        """Sample answers; before the evaluation's row, which says on resume that they are there."""
        if self.is_main:
            with checkpoint.disk_errors(self.files, "the ledger"):
                for row in rows:
                    ledger.append(self.files.samples, {"step": step, **row})
                if rows:
                    atomic.fsync(self.files.samples)
