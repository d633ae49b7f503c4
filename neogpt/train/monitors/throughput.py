"""How fast a run goes."""

import time
from collections.abc import Mapping

import torch

from neogpt.config import AnyRun, GPT2Config
from neogpt.hardware import peak_flops
from neogpt.ledger import Row
from neogpt.model.sizes import flops_per_token
from neogpt.outcomes import Outcomes
from neogpt.train.monitors.base import NO_SAMPLES, Monitor

Lap = dict[str, float]


class Throughput(Monitor):
    """Turns steps into tokens a second, leaving out saving and evaluating."""

    def __init__(self, config: GPT2Config, run: AnyRun, every_s: float = 2.0, processes: int = 1) -> None:
        self.config, self.every_s = config, every_s
        self.latest: Lap | None = None
        """What the row that was noted last has completed."""
        self.length = getattr(run.objective, "seq_len", 0)
        self.peak = _peak_of(run.device) * processes
        self._last: tuple[float, int, int] | None = None

    def skip(self) -> None:
        """What happened since the last lap does not count."""
        self._last = None

    def note(self, row: Row, samples: Mapping[str, Outcomes] = NO_SAMPLES) -> Row:
        self.latest = self.lap(row["step"], row["tokens"]) if "grad_norm" in row else None
        return row

    def lap(self, step: int, tokens: int) -> Lap | None:
        """Speed since the last lap, once enough time has passed: step_s and tokens_per_s (and mfu on a known GPU)."""
        now = time.monotonic()
        if self._last is None:
            self._last = (now, step, tokens)
            return None
        then, first_step, first_tokens = self._last
        if now - then < self.every_s:
            return None
        self._last = (now, step, tokens)
        speed = (tokens - first_tokens) / (now - then)
        lap = {"step": step, "step_s": (now - then) / (step - first_step), "tokens_per_s": speed}
        if self.peak and self.length:
            lap["mfu"] = speed * flops_per_token(self.config, self.length) / self.peak
        return lap


def _peak_of(device: str) -> float:
    return peak_flops(torch.cuda.get_device_name(torch.device(device))) if device.startswith("cuda") else 0.0
