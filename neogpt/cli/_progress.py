"""The progress of a run: live lines on a terminal, plain ones elsewhere."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from neogpt.ledger import Row

_PLAIN_EVERY_S = 10.0
_SPINNER = 3
"""Columns that the sign of life takes."""


class Progress:
    """A tracker that shows step, share, tokens, losses, learning rate, speed, what is left of run and disk."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(highlight=False)
        self.clock = clock
        self.steps, self.smooth, self.val = 0, 0.0, ""
        self.speed: Row = {}
        self._seen, self._printed = 0, -1e9
        self._live: Live | None = None
        self._spinner = Spinner("dots")

    def row(self, row: Row) -> None:
        """Take a ledger row in; show it when it is time."""
        if "grad_norm" not in row:
            self._evaluated(row)
            return
        if isinstance(row["loss"], float):
            self.smooth = debiased(self.smooth, row["loss"], self._seen)
            self._seen += 1
        self._show(self._parts(row))

    def event(self, event: Row) -> None:
        """Take an event in: the horizon, the speed, what is worth a line."""
        match event["event"]:
            case "start" | "resume" as name:
                self.steps = event.get("steps", 0)
                data = ", ".join(f"{key} {value:,}" for key, value in event["data"].items())
                data += f", read {event['epochs']:,} times" if "epochs" in event else ""
                where = f"{event['device']}, {event['processes']} process(es), {event['params']:,} parameters"
                self._line_of(f"{name} at step {event['step']:,} of {self.steps:,}: {where}; {data}")
            case "progress":
                self.speed = event
            case "skipped":
                self._line_of(
                    f"skipped step {event['step']:,}: {event['reason']} ({event['total']:,} so far)"
                )
            case "note":
                self._line_of(event["message"])
            case "warning" | "preempted" as name:
                self._line_of(f"{name}: {event.get('message', event.get('signal', ''))}")
            case "stopped early":
                since = "" if event["best"] is None else f" than at step {event['best']:,}"
                self._line_of(f"stopped early at step {event['step']:,}: no evaluation was better{since}")
            case "end":
                self.close()
                skipped = f", {event['skipped']:,} of them skipped" if event.get("skipped") else ""
                self._line_of(f"done: {event['step']:,} steps in {clock_time(event['seconds'])}{skipped}")

    def close(self) -> None:
        """Take the live lines away."""
        if self._live:
            self._live.stop()
            self._live = None

    def _parts(self, row: Row) -> list[str]:
        """What is shown of a step, in order; what is not known yet is left out."""
        step, speed = row["step"], self.speed
        share = f" ({step / self.steps:.0%})" if self.steps else ""
        loss = "skipped" if row.get("skipped") else f"{row['loss']:.4f}"
        left = max(0, self.steps - step) * speed.get("step_s", 0.0)
        parts = [
            f"step {step:,}/{self.steps:,}{share}",
            f"{short(row['tokens'])} tokens" if row.get("tokens") else "",
            f"loss {loss} (~{self.smooth:.4f})",
            self.val,
            f"lr {row['lr']:.2e}",
            f"norm {row['grad_norm'] or 0:.2f}",
            f"{short(speed['tokens_per_s'])} tok/s" if "tokens_per_s" in speed else "",
            f"mfu {speed['mfu']:.1%}" if "mfu" in speed else "",
            f"eta {clock_time(left)}" if left else "",
            f"disk {short(speed['disk_free_bytes'], 'kMGT')}B left" if "disk_free_bytes" in speed else "",
        ]
        return [part for part in parts if part]

    def _evaluated(self, row: Row) -> None:
        if isinstance(row.get("val_loss"), float):
            self.val = f"val {row['val_loss']:.4f}"
        if isinstance(row.get("val_bpb"), float):
            self.val += f" ({row['val_bpb']:.4f} bits/byte)"
        names = [
            key for key in row if "/" in key and not key.startswith("val/") and not key.endswith("_stderr")
        ]
        scores = "".join(f"  {name} {_with_error(row, key)}" for name, key in _short_names(names))
        self._line_of(f"eval at step {row['step']:,}:  {self.val}{scores}")

    def _show(self, parts: list[str]) -> None:
        if self.console.is_terminal:
            lines = Table.grid(padding=(0, 1))
            lines.add_row(self._spinner, "\n".join(packed(parts, self.console.width - _SPINNER)))
            if not self._live:
                self._live = Live(lines, console=self.console, refresh_per_second=8, transient=True)
                self._live.start(refresh=True)
            self._live.update(lines)
        elif (now := self.clock()) - self._printed >= _PLAIN_EVERY_S:
            self._printed = now
            self._line_of("  ".join(parts))

    def _line_of(self, line: Any) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def packed(parts: Iterable[str], width: int) -> list[str]:
    """The parts, two spaces apart, in as few lines of at most `width` columns as their order allows."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def short(number: float, letters: str = "kMBT") -> str:
    """Three digits and a letter: 950 -> 950, 12345 -> 12.3k, 524_288_000 -> 524M, 1.2e12 -> 1.20T."""
    if number < 999.5:
        return f"{number:.0f}"
    for letter in letters:
        number /= 1000
        if number < 999.5 or letter == letters[-1]:
            break
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}{letter}"


def debiased(mean: float, value: float, seen: int, beta: float = 0.95) -> float:
    """The exponential mean of `seen` + 1 values, without the pull towards 0 of the first ones."""
    weight = (1 - beta) / (1 - beta ** (seen + 1))
    return mean + weight * (value - mean)


def clock_time(seconds: float) -> str:
    """92.4 -> 1:32, 3700 -> 1:01:40, 200000 -> 2d 7:33:20."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h}:{m:02d}:{s:02d}"
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def _short_names(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Each score as `(name, key)`: without its eval's name where no other eval has a score of the same name."""
    names = [key.partition("/")[2] for key in keys]
    return [(key if names.count(name) > 1 else name, key) for name, key in zip(names, keys, strict=True)]


def _with_error(row: Row, key: str) -> str:
    """A score as 0.28, or with the digits of its standard error where it has one: 0.2847±0.0045."""
    error = row.get(f"{key}_stderr")
    return f"{row[key]:.2f}" if error is None else f"{row[key]:.4f}±{error:.4f}"
