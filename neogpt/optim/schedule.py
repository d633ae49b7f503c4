"""Learning-rate schedules as pure functions of the step; all end where the run ends."""

import math

from neogpt.config import OptimConfig


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """The rate of update number `step` (0-based) of `steps`.

    Linear warm-up to the peak, then: constant; cosine to `min_lr_ratio` (Loshchilov & Hutter 2017); or wsd, a
    flat top with a linear fall over the last `decay_ratio` of the run (Zhai et al. 2022, Hu et al. 2024).
    """
    warmup = round(config.warmup_ratio * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * (
        config.min_lr_ratio + (1 - config.min_lr_ratio) * _height(step - warmup, steps - warmup, config)
    )


def _height(done: int, length: int, config: OptimConfig) -> float:
    """Height between 1 (peak) and 0 (final), `done` updates after warm-up, of `length` that remain."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done / max(1, length)))
    falling = max(1, round(config.decay_ratio * length))
    return min(1.0, (length - done) / falling)
