"""The progress line of a run: a live one on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable

from rich.console import Console

from neogpt.ledger import Row

_PLAIN_EVERY_S = 10.0


class Progress:
    """A listener that prints step, share, loss, learning rate, speed and what is left."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(highlight=False)
        self.clock = clock
        self.steps, self.smooth, self.speed, self.step_s, self.val = 0, 0.0, 0.0, 0.0, ""
        self.mfu = ""
        self._seen, self._printed = 0, -1e9
        self._status = self.console.status("") if self.console.is_terminal else None

    def row(self, row: Row) -> None:
        """Take a ledger row in; print when it is time."""
        if "grad_norm" not in row:
            self._evaluated(row)
            return
        if isinstance(row["loss"], float):
            self.smooth = debiased(self.smooth, row["loss"], self._seen)
            self._seen += 1
        self._show(self._line(row))

    def event(self, event: Row) -> None:
        """Take an event in: the horizon, the speed, what is worth a line."""
        name = event["event"]
        if name in ("start", "resume"):
            self.steps = event.get("steps", 0)
            data = ", ".join(f"{key} {value:,}" for key, value in event["data"].items())
            where = f"{event['device']}, {event['processes']} process(es), {event['params']:,} parameters"
            self._line_of(f"{name} at step {event['step']} of {self.steps}: {where}; {data}")
        elif name == "progress":
            self.speed, self.step_s = event["tokens_per_s"], event["step_s"]
            self.mfu = f"  mfu {event['mfu']:.1%}" if "mfu" in event else ""
        elif name in ("warning", "preempted"):
            self._line_of(f"{name}: {event.get('message', event.get('signal', ''))}")
        elif name == "end":
            self._stop()
            self._line_of(f"done: {event['step']} steps in {clock_time(event['seconds'])}")

    def _line(self, row: Row) -> str:
        step, left = row["step"], max(0, self.steps - row["step"])
        loss = "skipped" if row.get("skipped") else f"{row['loss']:.4f}"
        share = f"({step / self.steps:.0%})" if self.steps else ""
        eta = f"  eta {clock_time(left * self.step_s)}" if self.step_s else ""
        speed = f"  {self.speed:,.0f} tok/s" if self.speed else ""
        return (
            f"step {step}/{self.steps} {share}  loss {loss} (~{self.smooth:.4f}){self.val}"
            f"  lr {row['lr']:.2e}  norm {row['grad_norm'] or 0:.2f}{speed}{self.mfu}{eta}"
        )

    def _evaluated(self, row: Row) -> None:
        if isinstance(row.get("val_loss"), float):
            self.val = f"  val {row['val_loss']:.4f}"
        named = {key: value for key, value in row.items() if "/" in key and not key.startswith("val/")}
        scores = "".join(f"  {key.partition('/')[2]} {value:.2f}" for key, value in named.items())
        self._line_of(f"eval at step {row['step']}:{self.val}{scores}")

    def _show(self, line: str) -> None:
        if self._status:
            self._status.start()
            self._status.update(line)
        elif (now := self.clock()) - self._printed >= _PLAIN_EVERY_S:
            self._printed = now
            self._line_of(line)

    def _line_of(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._status:
            self._status.stop()


def debiased(mean: float, value: float, seen: int, beta: float = 0.95) -> float:
    """The exponential mean of `seen` + 1 values, without the pull towards 0 of the first ones."""
    weight = (1 - beta) / (1 - beta ** (seen + 1))
    return mean + weight * (value - mean)


def clock_time(seconds: float) -> str:
    """92.4 -> 1:32, 3700 -> 1:01:40."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
