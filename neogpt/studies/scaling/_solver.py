"""Least Huber loss over the law's five constants: starts by variable projection, ends by Newton's method.

For given exponents the law is linear in E, A and B. So a grid over (alpha, beta) with linear least squares for the
rest (variable projection, Golub & Pereyra 1973; for this law Czech et al., arXiv 2603.22339) sees every valley of
the objective, and Newton steps on all five constants end in its lowest point. Nothing here is random.

Shapes: S sets of constants, R runs, 5 constants (e, a, b, alpha, beta).
"""

import itertools
from dataclasses import dataclass

import numpy as np

from neogpt.studies.scaling._objective import Objective
from neogpt.studies.scaling.law import FloatArray, IntArray

LOWEST, HIGHEST = 0.01, 3.0
"""Exponents are looked for in this range; data whose best exponent lies at an end follows no such law."""
_GRID = 24
_REWEIGHTINGS = 6
_BEST = 6
_STRIDE = 4
_CHUNK = 64
_STEPS = 120
_TOLERANCE = 1e-9
_SAME = 1e-9
_RIVAL, _MOST_RIVALS = 1.25, 3
_TINY = 1e-12


@dataclass(frozen=True)
class Solution:
    """The lowest point that was found, and how many starts led there."""

    x_5: FloatArray
    value: float
    rivals_S5: FloatArray
    """Further local minima that are nearly as low, from the lowest up: a resample may prefer one of them."""
    starts: int
    agreeing: int
    """Starts that ended in the lowest point."""


def solve(objective: Objective, weights_R: FloatArray) -> Solution:
    """The lowest point of the objective from many starts."""
    starts_S5 = _starts(objective, weights_R)
    weights_SR = np.broadcast_to(weights_R, (len(starts_S5), len(weights_R)))
    x_S5, value_S = descend(objective, starts_S5, weights_SR)
    order = np.argsort(value_S, kind="stable")
    x_S5, value_S = x_S5[order], value_S[order]
    is_lowest = value_S - value_S[0] <= _SAME * value_S[0] + _TINY
    rivals = [i for i in np.flatnonzero(~is_lowest) if value_S[i] <= _RIVAL * value_S[0]]
    return Solution(x_S5[0], float(value_S[0]), x_S5[rivals[:_MOST_RIVALS]], len(x_S5), int(is_lowest.sum()))


def descend(objective: Objective, x_S5: FloatArray, weights_SR: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Newton steps from each start until the gradient is 0; the constants and the objective's value there."""
    found = [
        _descend(objective, x_S5[i : i + _CHUNK].copy(), weights_SR[i : i + _CHUNK])
        for i in range(0, len(x_S5), _CHUNK)  # what fits a processor's cache is several times as fast
    ]
    return np.concatenate([x for x, _ in found]), np.concatenate([value for _, value in found])


def _descend(objective: Objective, x_S5: FloatArray, weights_SR: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Levenberg's damping: a step that does not go down is shortened, one that does makes the next one longer."""
    damping_S, value_S = np.ones(len(x_S5)), objective.value(x_S5, weights_SR)
    going = np.arange(len(x_S5))
    for _ in range(_STEPS):
        x, weights = x_S5[going], weights_SR[going]
        gradient, matrix = objective.derivatives(x, weights, damping_S[going])
        tried = x + _step(gradient, matrix, damping_S[going])
        tried[:, 3:] = np.clip(tried[:, 3:], LOWEST, HIGHEST)
        value = objective.value(tried, weights)
        is_lower = value < value_S[going]
        x_S5[going[is_lower]], value_S[going[is_lower]] = tried[is_lower], value[is_lower]
        damping_S[going] = np.clip(damping_S[going] * np.where(is_lower, 0.2, 4.0), 1e-9, None)
        flat = np.abs(gradient).max(1) <= _TOLERANCE * _steepest(objective, weights)
        going = going[~flat & (damping_S[going] < 1e12)]
        if not len(going):
            break
    return x_S5, value_S


def _steepest(objective: Objective, weights_SR: FloatArray) -> FloatArray:
    """A gradient's size when all residuals are as large as delta (1 for least squares)."""
    return np.asarray(weights_SR.sum(1) * min(objective.delta, 1.0))


def _step(gradient_S5: FloatArray, matrix_S55: FloatArray, damping_S: FloatArray) -> FloatArray:
    """Solve for the step; no constant moves by more than 1 in log units, or 1 in an exponent, at once."""
    scale_S5 = np.abs(np.einsum("sii->si", matrix_S55))
    ridge_S5 = 1e-10 * (1 + damping_S[:, None]) * (scale_S5.max(1, keepdims=True) + _TINY)
    step_S5 = -np.linalg.solve(matrix_S55 + ridge_S5[:, :, None] * np.eye(5), gradient_S5[:, :, None])[
        :, :, 0
    ]
    uphill = (step_S5 * gradient_S5).sum(1) > 0
    step_S5[uphill] = -gradient_S5[uphill] / (scale_S5.max(1, keepdims=True)[uphill] + _TINY)
    return np.clip(step_S5, -1.0, 1.0)


def _starts(objective: Objective, weights_R: FloatArray) -> FloatArray:
    """From a grid of exponents: the projected objective's valleys, its best few cells, and cells from all over."""
    exponents = np.geomspace(0.03, 2.0, _GRID)
    pairs_S2 = np.array(list(itertools.product(exponents, exponents)))
    x_S5 = project(objective, pairs_S2, weights_R)
    value_S = objective.value(x_S5, weights_R[None])
    valleys = _valleys(value_S.reshape(_GRID, _GRID))
    best = np.argsort(value_S, kind="stable")[:_BEST]
    spread = np.arange(_GRID**2).reshape(_GRID, _GRID)[2::_STRIDE, 2::_STRIDE].ravel()
    return x_S5[np.unique(np.concatenate([valleys, best, spread]))]


def _valleys(value_GG: FloatArray) -> IntArray:
    """Flat indices of the cells of a square grid that are no higher than their neighbours."""
    size = len(value_GG)
    padded = np.pad(value_GG, 1, constant_values=np.inf)
    shifts = itertools.product((0, 1, 2), (0, 1, 2))
    around = np.min([padded[i : i + size, j : j + size] for i, j in shifts], axis=0)
    return np.flatnonzero(value_GG.ravel() <= around.ravel())


def project(objective: Objective, pairs_S2: FloatArray, weights_R: FloatArray) -> FloatArray:
    """For each (alpha, beta) the constants (S, 5) with the best E, A, B above 0, by reweighted least squares.

    The residual is (E + A x + B y) / L - 1, which is the log residual to first order; the weights are Huber's.
    """
    alpha, beta = pairs_S2.T[:, :, None]
    columns_SR3 = (
        np.stack(
            [
                np.ones((len(pairs_S2), len(objective.n_R))),
                np.exp(-alpha * objective.n_R),
                np.exp(-beta * objective.d_R),
            ],
            axis=-1,
        )
        / np.exp(objective.log_loss_R)[:, None]
    )
    weights_SR = np.broadcast_to(weights_R, columns_SR3.shape[:2])
    for _ in range(_REWEIGHTINGS):
        linear_S3 = _nonnegative(columns_SR3, weights_SR)
        size_SR = np.abs((columns_SR3 @ linear_S3[:, :, None])[:, :, 0] - 1)
        weights_SR = weights_R * np.minimum(1.0, objective.delta / np.maximum(size_SR, _TINY))
    return np.concatenate([np.log(np.maximum(linear_S3, _TINY)), pairs_S2], axis=1)


def _nonnegative(columns_SR3: FloatArray, weights_SR: FloatArray) -> FloatArray:
    """Weighted least squares of columns to ones with coefficients (S, 3) not below 0: the best of the 7 supports."""
    weighted = columns_SR3 * weights_SR[:, :, None]
    gram_S33, rhs_S3 = weighted.transpose(0, 2, 1) @ columns_SR3, weighted.sum(1)
    best_S3, best_S = np.zeros_like(rhs_S3), np.full(len(rhs_S3), -np.inf)
    for size in (1, 2, 3):
        for support in itertools.combinations(range(3), size):
            gram = gram_S33[:, support][:, :, support]
            gram = gram + 1e-13 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(size)
            found = np.linalg.solve(gram, rhs_S3[:, support, None])[:, :, 0]
            gain = np.where((found >= 0).all(1), (found * rhs_S3[:, support]).sum(1), -np.inf)
            better = gain > best_S
            whole = np.zeros_like(best_S3)
            whole[:, support] = found
            best_S3[better] = whole[better]
            best_S = np.maximum(best_S, gain)
    return best_S3
