"""Numbers of a plot, apart from any drawing: smoothing, thinning, ranges and ticks. numpy only."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def smooth(values: Sequence[float], span: float = 0.05, early: bool = False) -> Floats:
    """The trend of a noisy series: at each point, a least-squares line through its neighbors, read there.

    values (N,) -> (N,). The window is the `span` * N points to each side (at the ends as many, on the side that
    there is); with `early` it is narrower at the beginning, for an axis that stretches the first steps. A
    constant or linear series comes back as it is, and nothing lags behind, as a running mean would.
    Source: local linear regression (Cleveland 1979) with equal weights; O(N) by running sums.
    """
    y = np.asarray(values, dtype=np.float64)
    n = len(y)
    if n < 3:
        return y
    i = np.arange(n)
    reach = np.full(n, min(max(1, round(span * n)), (n - 1) // 2))
    if early:
        reach = np.minimum(reach, 1 + i // 3)
    low = np.clip(i - reach, 0, n - 1 - 2 * reach)
    high = low + 2 * reach + 1
    x, shift = i.astype(np.float64), y.mean()
    count, sum_x, sum_xx = high - low, _window(x, low, high), _window(x * x, low, high)
    sum_y, sum_xy = _window(y - shift, low, high), _window(x * (y - shift), low, high)
    slope = (count * sum_xy - sum_x * sum_y) / (count * sum_xx - sum_x * sum_x)
    trend = shift + sum_y / count + slope * (x - sum_x / count)
    return np.asarray(np.clip(trend, y.min(), y.max()))


def _window(values: Floats, low: NDArray[np.int64], high: NDArray[np.int64]) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(total[high] - total[low])


def thin(xs: Sequence[float], ys: Sequence[float], columns: int) -> tuple[list[float], list[float]]:
    """At most two points a column of a plot, its lowest and its highest: the same picture, a smaller file.

    xs (N,) ascending, in the coordinates of the axis, and ys (N,); first and last points always stay.
    """
    n = len(xs)
    if n <= 2 * columns:
        return list(xs), list(ys)
    x = np.asarray(xs, dtype=np.float64)
    column = np.minimum((x - x[0]) / (x[-1] - x[0]) * columns, columns - 1).astype(int)
    edges = np.flatnonzero(np.diff(column)) + 1
    keep = {0, n - 1}
    for part in np.split(np.arange(n), edges):
        values = np.asarray([ys[i] for i in part])
        keep |= {int(part[values.argmin()]), int(part[values.argmax()])}
    return [xs[i] for i in sorted(keep)], [ys[i] for i in sorted(keep)]


def bounds(main: Sequence[float], noisy: Sequence[float] = (), pad: float = 0.06) -> tuple[float, float]:
    """Lowest and highest value to show: all of `main`, and `noisy` but for its highest half per cent."""
    values = list(main)
    if len(noisy):
        values += [min(noisy), float(np.quantile(np.asarray(noisy), 0.995))]
    low, high = min(values), max(values)
    margin = (high - low) * pad or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) inside [low, high], at most `most` of them."""
    width = high - low
    if not width > 0:
        return [low]
    power = math.floor(math.log10(width / most))
    for step in (s * 10.0 ** (power + p) for p in (0, 1) for s in (1, 2, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [float(f"{k * step:.12g}") for k in range(first, last + 1)]
    return [low, high]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside [low, high], and the last value when it stands clear of them."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    marks = [10.0**p for p in powers]
    if not marks or high / marks[-1] > 2:
        marks.append(high)
    return marks


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, `gap` apart and inside [low, high], in the same order (for labels)."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [min(max(wanted[i], low), high) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    if places and places[-1] > high:
        places[-1] = high
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    result = [0.0] * len(wanted)
    for place, i in zip(places, order, strict=True):
        result[i] = place
    return result
