"""What trackers share: a thread of their own, the run's history after a resume, and that they never stop a run."""

import hashlib
import json
import queue
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neogpt import config, ledger
from neogpt.ledger import Row
from neogpt.paths import RunDir

_MOST_WAITING = 10_000
"""Rows that may wait for a tracker before it is taken for hung."""
_LAST_WORD_S = 60.0
"""How long the end of a run waits for a tracker to hand over its last rows."""


class BackgroundTracker:
    """A tracker that shows the ledger elsewhere; a subclass says how it opens, writes and finishes.

    All three run in a thread, so that a slow one slows nothing. The first failure is warned of, once, and the
    tracker is left out from then on. After a resume it gets the ledger's rows that it has not seen yet, and none
    twice: where the tracker itself keeps what it was sent (`remembers`), the run folder says up to which step.
    """

    name = ""
    package = ""
    """What to install."""
    remembers = True

    def __init__(self, files: RunDir) -> None:
        self.files = files
        self._todo: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._problem, self._warned = "", False
        self._sent = -1
        self._pending: Row = {}

    def open(self) -> None:
        """Begin, or go on."""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Take a step's numbers, once a step."""

    def finish(self) -> None:
        """Hand over what is left."""

    def row(self, row: Row) -> None:
        """Write the row's numbers at its step."""
        self._do(lambda: self._take(row))

    def event(self, event: Row) -> None:
        """Open at the start, with the history; write the speed."""
        if event["event"] in ("start", "resume"):
            past = _history(self.files, event["step"]) if event["step"] else []
            self._do(lambda: self._begin(past))
        elif event["event"] == "progress":
            self._do(lambda: self._take(_speed(event)))

    def close(self) -> None:
        """Wait, not for ever, until everything is handed over."""
        if self._thread:
            self._do(self._end)
            self._do(None)
            self._thread.join(_LAST_WORD_S)
            if self._thread.is_alive() and not self._problem:
                self._problem = f"it did not end within {_LAST_WORD_S:.0f} s"
        self._warn()

    @property
    def run_id(self) -> str:
        """Of the run, the same after every resume."""
        first = next(iter(ledger.read(self.files.events)), {})
        return hashlib.sha256(f"{self.files.root.name} {first.get('time')}".encode()).hexdigest()[:12]

    def settings(self) -> dict[str, Any]:
        """The run's resolved settings, by dotted name."""
        return config.flatten(config.read_toml(self.files.config))

    def _do(self, call: Callable[[], None] | None) -> None:
        if not self._problem:
            if not self._thread:
                self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
                self._thread.start()
            try:
                self._todo.put_nowait(call)
            except queue.Full:
                self._problem = f"it takes no rows any more ({_MOST_WAITING:,} are waiting)"
        self._warn()

    def _work(self) -> None:
        while call := self._todo.get():
            try:
                call()
            except ModuleNotFoundError as error:
                self._problem = f"{error}; pip install {self.package}"
                return
            except BaseException as error:
                self._problem = f"{type(error).__name__}: {error}"
                return

    def _warn(self) -> None:
        if self._problem and not self._warned:
            self._warned = True
            warnings.warn(f"{self.name} is left out from here on: {self._problem}", stacklevel=3)

    def _begin(self, past: list[Row]) -> None:
        if self.remembers and self._mark.exists() and past:
            self._sent = json.loads(self._mark.read_text("utf-8"))["step"]
        self.open()
        for row in past:
            self._take(row)

    def _take(self, row: Row) -> None:
        """Rows of one step are put together: training, evaluation, speed."""
        if self._pending and row["step"] != self._pending["step"]:
            self._flush()
        if row["step"] > self._sent:
            self._pending |= row

    def _flush(self) -> None:
        values = {k: v for k, v in self._pending.items() if k != "step" and isinstance(v, int | float)}
        self.write(self._pending["step"], values)
        self._sent, self._pending = self._pending["step"], {}
        if self.remembers:
            new = self._mark.with_suffix(".tmp-json")  # whole, though not durable: it is written every step
            new.write_text(json.dumps({"step": self._sent}), "utf-8")
            new.replace(self._mark)

    def _end(self) -> None:
        if self._pending:
            self._flush()
        self.finish()

    @property
    def _mark(self) -> Path:
        return self.files.root / f".{self.name}.json"


def _history(files: RunDir, step: int) -> list[Row]:
    """The ledger's rows and the last known speeds up to `step`, by step."""
    rows = [row for row in ledger.read(files.metrics) if row.get("step", step + 1) <= step]
    laps = {row["step"]: _speed(row) for row in ledger.read(files.events) if row.get("event") == "progress"}
    return sorted([*rows, *(lap for at, lap in laps.items() if at <= step)], key=lambda row: int(row["step"]))


def _speed(event: Row) -> Row:
    return {key: value for key, value in event.items() if key not in ("time", "event")}
