"""IsoFLOP parabolas (Hoffmann et al. 2022, approach 2), as a picture, and how far they lead from the truth.

At each compute budget a parabola of the loss over log N is fitted, and a line through the logarithms of its lowest
points gives N_opt ~ C^a. The curve at one budget is no parabola, however: with u = log(N / N_opt) the law is

    L - L_opt = k(C) * ((exp(-alpha u) - 1) / alpha + (exp(beta u) - 1) / beta)

So where sizes stand equally around N_opt at every budget, each parabola errs by the same factor: a is right and N_opt
is not. Where they do not (the same sizes for all budgets), a is wrong too. Source: Czech et al., "Problems with
Chinchilla Approach 2", arXiv 2603.22339.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neogpt.errors import ConfigError, DataError
from neogpt.studies.scaling import fit as fitting
from neogpt.studies.scaling.law import FloatArray, Law
from neogpt.studies.scaling.points import Points

_FEWEST_SIZES = 4
_ALIKE = 1.1
"""Runs whose compute differs by less than this factor share a budget."""


@dataclass(frozen=True)
class Parabola:
    """Loss over log N at one compute budget: L = lowest loss + curvature (log N - log N_opt)^2."""

    flops: float
    n_params: float
    """N_opt."""
    loss: float
    curvature: float
    points: Points
    is_inside: bool
    """Whether N_opt lies among the sizes that were trained."""

    def at(self, n_params: FloatArray) -> FloatArray:
        """The parabola's loss for models of these sizes."""
        return np.asarray(self.loss + self.curvature * (np.log(n_params) - math.log(self.n_params)) ** 2)


@dataclass(frozen=True)
class IsoFlop:
    """The parabolas of a table and N_opt = coefficient * C^size_exponent through their lowest points."""

    parabolas: list[Parabola]
    size_exponent: float
    log_coefficient: float

    def n_params(self, flops: float) -> float:
        """N_opt at a budget."""
        return math.exp(self.log_coefficient + self.size_exponent * math.log(flops))


def parabolas(points: Points, budgets: Sequence[float] = ()) -> IsoFlop:
    """A parabola for every budget with at least four sizes, and the line through the lowest points inside of them.

    budgets: which to take; by default those that the table shows. Runs within 10 % of a budget belong to it. Errors:
    DataError (scaling.no_isoflop) where fewer than two budgets have a lowest point among their sizes.
    """
    groups = _groups(points, budgets)
    found = [p for flops, index in groups if (p := _parabola(flops, points.select(index)))]
    good = [p for p in found if p.is_inside]
    if len(good) < 2:
        raise DataError(
            f"{len(good)} of {len(groups)} compute budgets have a parabola whose lowest point lies among its sizes",
            f"two budgets or more, each with {_FEWEST_SIZES} sizes or more on both sides of the best",
            code="scaling.no_isoflop",
        )
    exponent, intercept = np.polyfit(np.log([p.flops for p in good]), np.log([p.n_params for p in good]), 1)
    return IsoFlop(found, float(exponent), float(intercept))


def _groups(points: Points, budgets: Sequence[float]) -> list[tuple[float, list[int]]]:
    """Budgets and the points of each, lowest first."""
    flops = points.flops
    if budgets:
        near = [(c, np.flatnonzero(np.abs(np.log(flops / c)) <= math.log(_ALIKE))) for c in sorted(budgets)]
        return [(c, index.tolist()) for c, index in near]
    groups: list[list[int]] = []
    for i in np.argsort(flops, kind="stable").tolist():
        if groups and flops[i] <= _ALIKE * flops[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [(float(np.exp(np.log(flops[g]).mean())), g) for g in groups if len(g) >= _FEWEST_SIZES]


def _parabola(flops: float, points: Points) -> Parabola | None:
    """The parabola of one budget; None where it has no lowest point."""
    x = np.log(points.n_params)
    if len(np.unique(x)) < _FEWEST_SIZES:
        return None
    curvature, slope, level = (float(c) for c in np.polyfit(x - x.mean(), points.loss, 2))
    if curvature <= 0:
        return None
    lowest = float(x.mean()) - slope / (2 * curvature)
    loss = level - slope**2 / (4 * curvature)
    is_inside = bool(x.min() <= lowest <= x.max())
    return Parabola(flops, math.exp(min(lowest, 700.0)), loss, curvature, points, is_inside)


def made_points(
    law: Law, budgets: Sequence[float], width: float, center: float = 1.0, drift: float = 0.0, sizes: int = 7
) -> Points:
    """Noise-free runs that follow a law: at each budget, sizes from `center / width` to `center * width` times N_opt.

    drift: the center is multiplied by (budget / geometric mean of budgets)^drift, so with `drift` = -a the same sizes
    are used for all budgets. Errors: ConfigError (scaling.bad_option).
    """
    if not (width > 1 and center > 0 and sizes >= _FEWEST_SIZES and len(budgets) >= 2):
        raise ConfigError(
            f"a grid of {sizes} sizes at {len(budgets)} budgets, {width} times wider than its center {center}",
            f"{_FEWEST_SIZES} sizes or more at two budgets or more, a width above 1 and a center above 0",
            code="scaling.bad_option",
        )
    C = np.asarray(budgets, np.float64)
    best, _, _ = law.optimum(C)
    centers = best * center * (C / np.exp(np.log(C).mean())) ** drift
    N = (centers[:, None] * np.geomspace(1 / width, width, sizes)).ravel()
    D = np.repeat(C, sizes) / (6 * N)
    return Points(N, D, law.loss(N, D))


def bias(law: Law, budgets: Sequence[float], ahead: float = 100.0) -> list[dict[str, Any]]:
    """What parabolas and what the fitted law say of noise-free runs that follow `law`, by where the sizes stand.

    One row a grid: the exponent a of either, and the factor by which either misses N_opt at `ahead` times the
    largest budget (1: right).
    """
    a = float(law.size_exponent)
    grids = {
        "narrow (2 x), centered": made_points(law, budgets, 2.0),
        "wide (8 x), centered": made_points(law, budgets, 8.0),
        "wide (8 x), 3 x too large": made_points(law, budgets, 8.0, center=3.0),
        "wide (8 x), the same sizes at all budgets": made_points(law, budgets, 8.0, drift=-a),
    }
    flops = ahead * max(budgets)
    true_size = float(law.optimum(flops)[0])
    rows = []
    for name, points in grids.items():
        drawn, fitted = parabolas(points), fitting.fit(points, bootstrap=0).law
        rows.append(
            {
                "grid": name,
                "true_exponent": a,
                "parabola_exponent": drawn.size_exponent,
                "law_exponent": float(fitted.size_exponent),
                "flops": flops,
                "parabola_size_factor": drawn.n_params(flops) / true_size,
                "law_size_factor": float(fitted.optimum(flops)[0]) / true_size,
            }
        )
    return rows
