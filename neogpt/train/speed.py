"""How fast a run goes, and what makes it faster without changing what it computes."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

import torch

from neogpt.config import AnyRun, GPT2Config
from neogpt.model import GPT2

_PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A40": 150e12,
    "RTX A6000": 155e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 4080": 97e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
    "MI250X": 383e12,
}
"""Dense bfloat16 peak (summed in float32) by GPU name, from the makers' data sheets; the first that fits counts."""


def flops_per_token(config: GPT2Config, n_params: int, length: int) -> float:
    """Training FLOPs a token: 6 N + 12 L D T (Chowdhery et al. 2022, appendix B); N counts the embeddings."""
    return 6 * n_params + 12 * config.n_layer * config.n_embd * length


class Stopwatch:
    """Turns steps into tokens a second, leaving out saving and evaluating."""

    def __init__(self, config: GPT2Config, run: AnyRun, every_s: float = 2.0, processes: int = 1) -> None:
        self.config, self.every_s = config, every_s
        self.length = getattr(run.objective, "sequence_tokens", 0)
        self.peak = _peak_of(run.device) * processes
        self._last: tuple[float, int, int] | None = None

    def skip(self) -> None:
        """What happened since the last lap does not count."""
        self._last = None

    def lap(self, step: int, tokens: int) -> dict[str, float] | None:
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
            lap["mfu"] = speed * self._flops() / self.peak
        return lap

    def _flops(self) -> float:
        c = self.config
        block = 12 * c.n_embd**2 + 13 * c.n_embd
        n_params = c.n_layer * block + (c.vocab_size + c.n_positions + 2) * c.n_embd
        return flops_per_token(c, n_params, self.length)


def _peak_of(device: str) -> float:
    return peak_flops(torch.cuda.get_device_name(torch.device(device))) if device.startswith("cuda") else 0.0


def peak_flops(name: str) -> float:
    """The peak of the GPU of this name (as torch gives it); 0 for one that is not known."""
    return next((peak for known, peak in _PEAK_FLOPS.items() if known in name), 0.0)


@contextlib.contextmanager
def compiled(model: GPT2, on: bool) -> Iterator[None]:
    """Use torch.compile's version of the training forward inside the block only.

    Evaluation and generation, whose shapes vary, keep the plain one: compiling never breaks them.
    """
    if not on:
        yield
        return
    vars(model)["hidden"] = _compiled_hidden(model)
    try:
        yield
    finally:
        del vars(model)["hidden"]


@functools.cache
def _compiled_hidden(model: GPT2) -> Callable[..., torch.Tensor]:
    return torch.compile(functools.partial(GPT2.hidden, model))
