"""Shares of what was counted."""

import math


def standard_error(right: int, n: int) -> float:
    """Of the share right / n: the sample's standard deviation over the root of n, as lm-eval has it."""
    p = right / n
    return math.sqrt(p * (1 - p) / max(1, n - 1))
