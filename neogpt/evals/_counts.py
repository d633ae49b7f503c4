"""Shares of what was counted, and means of what was measured, with their standard errors."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


def standard_error(right: int, n: int) -> float:
    """Of the share right / n: the sample's standard deviation over the root of n, as lm-eval has it."""
    p = right / n
    return math.sqrt(p * (1 - p) / max(1, n - 1))


def mean(values: Sequence[float]) -> float:
    return float(np.mean(np.asarray(values, np.float64)))


def with_errors(measured: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Each name's mean, and as NAME_stderr the sample's standard deviation over the root of n (0 for one value)."""
    scores = {}
    for name, values in measured.items():
        n = len(values)
        scores[name] = mean(values)
        scores[f"{name}_stderr"] = float(np.std(np.asarray(values, np.float64)) / math.sqrt(max(1, n - 1)))
    return scores
