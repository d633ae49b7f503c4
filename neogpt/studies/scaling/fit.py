"""Fit the law to a table of runs: constants, bootstrap intervals, how much the choices matter, predictions."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from neogpt.errors import ConfigError, DataError
from neogpt.studies.scaling import _solver
from neogpt.studies.scaling._objective import Objective
from neogpt.studies.scaling.law import NAMES, FloatArray, Law
from neogpt.studies.scaling.points import Points

DELTA = 1e-3
"""Where Hoffmann et al. 2022 turn the Huber loss from a square into a line, in log units."""
LOSSES = {"huber-0.001": DELTA, "huber-0.01": 1e-2, "squares": math.inf}
"""Losses on log L that the spread is told for."""
LEVEL = 0.95
_FEWEST, _FEWEST_VALUES = 7, 3
_MOST_ALIKE = 0.9995
_LEAST_FALL = 1e-4
"""A term that changes less than this share of the loss over the whole table explains nothing."""
_SHARE_LEFT_OUT = 0.02
"""The spread is told with and without this share of the points, those of highest loss (5 of 245)."""


@dataclass(frozen=True)
class Fit:
    """A fitted law, and what is known about it."""

    points: Points
    """Those that were fitted."""
    left_out: int
    law: Law
    """Numbers."""
    resampled: Law | None
    """Arrays, one value a bootstrap resample; None without a bootstrap."""
    delta: float
    value: float
    """The objective at its lowest point: a sum over runs."""
    starts: int
    agreeing: int
    residuals: FloatArray
    """log of predicted over measured loss."""

    def interval(self, name: str) -> tuple[float, float] | None:
        """The percentile bootstrap's 95 % interval of a constant or of `size_exponent`."""
        return None if self.resampled is None else _interval(getattr(self.resampled, name))

    @property
    def residual_spread(self) -> float:
        """Standard deviation of the log residuals, from their median size (robust against stray runs)."""
        return float(1.4826 * np.median(np.abs(self.residuals)))


def fit(
    points: Points, drop_highest: int = 0, delta: float = DELTA, bootstrap: int = 1000, seed: int = 0
) -> Fit:
    """The law of least sum of Huber losses on log L.

    drop_highest: leave out so many runs of highest loss. bootstrap: resamples for the intervals, of runs where the
    table names them, else of points; 0: none. Errors: ConfigError (scaling.bad_option); DataError
    (scaling.too_few_points, scaling.no_spread, scaling.collinear) for a table that no fit can be made of, and
    (scaling.no_law) where the losses do not fall with either, or the best exponents lie at the end of their range.
    """
    _validate_options(points, drop_highest, delta, bootstrap)
    kept = points.without_highest(drop_highest)
    _validate(kept)
    objective = Objective.of(kept, delta)
    found = _solver.solve(objective, np.ones(len(kept)))
    law = _as_numbers(objective.law(found.x_5[None]))
    _validate_law(law, kept)
    return Fit(
        kept,
        drop_highest,
        law,
        _bootstrap(objective, kept, found, bootstrap, seed) if bootstrap else None,
        delta,
        found.value,
        found.starts,
        found.agreeing,
        np.log(law.loss(kept.n_params, kept.tokens) / kept.loss),
    )


def spread(points: Points, drop_highest: int = 0) -> list[dict[str, Any]]:
    """The law under each loss of `LOSSES`, with and without the 2 % of highest loss: what choice alone decides.

    One row a choice, with the constants and the optimal size's exponent; `error` in their place where a choice
    gives no law.
    """
    more = max(1, round(_SHARE_LEFT_OUT * len(points)))
    rows = []
    for left_out in sorted({0, more, drop_highest}):
        for name, delta in LOSSES.items():
            row: dict[str, Any] = {"loss": name, "left_out": left_out}
            try:
                law = fit(points, left_out, delta, bootstrap=0).law
                row |= constants(law)
            except DataError as error:
                row["error"] = error.code
            rows.append(row)
    return rows


def constants(law: Law) -> dict[str, float]:
    """A law's constants and the optimal size's exponent, by name."""
    return {name: float(getattr(law, name)) for name in (*NAMES, "size_exponent")}


def predict(fitted: Fit, n_params: float, tokens: float, seed: int = 0) -> dict[str, Any]:
    """The loss of one run by the law.

    `interval` is the bootstrap's for the law, `run_interval` that of a single run, whose own residual comes on top
    (drawn from the fit's). `extrapolation` says how far the run lies outside the table, one line a quantity; it is
    empty within.
    """
    _validate_positive(n_params=n_params, tokens=tokens)
    row: dict[str, Any] = {
        "n_params": n_params,
        "tokens": tokens,
        "flops": 6 * n_params * tokens,
        "loss": float(fitted.law.loss(n_params, tokens)),
    }
    if fitted.resampled is not None:
        losses = fitted.resampled.loss(n_params, tokens)
        noise = np.random.default_rng(seed).choice(fitted.residuals, len(losses))
        row |= {"interval": _interval(losses), "run_interval": _interval(losses * np.exp(-noise))}
    return row | {"extrapolation": extrapolation(fitted.points, n_params, tokens)}


def optimum(fitted: Fit, flops: float) -> dict[str, Any]:
    """Parameters, tokens and loss of the best model for a compute budget, with intervals."""
    _validate_positive(flops=flops)
    names = ("n_params", "tokens", "loss")
    best = dict(zip(names, (float(value) for value in fitted.law.optimum(flops)), strict=True))
    row: dict[str, Any] = {"flops": flops, **best, "tokens_per_param": best["tokens"] / best["n_params"]}
    if fitted.resampled is not None:
        values = zip(names, fitted.resampled.optimum(flops), strict=True)
        row["intervals"] = {name: _interval(value) for name, value in values}
    return row | {"extrapolation": extrapolation(fitted.points, best["n_params"], best["tokens"])}


def extrapolation(points: Points, n_params: float, tokens: float) -> list[str]:
    """How far a run lies outside the fitted ones, in words with factors; nothing where it does not."""
    asked = {
        "parameters": (n_params, points.n_params),
        "tokens": (tokens, points.tokens),
        "compute": (6 * n_params * tokens, points.flops),
    }
    found = []
    for name, (value, known) in asked.items():
        low, high = float(known.min()), float(known.max())
        if value > high * (1 + 1e-9):
            found.append(f"{name} {value:.3g}: {value / high:.3g} times the largest in the fit ({high:.3g})")
        elif value < low * (1 - 1e-9):
            found.append(f"{name} {value:.3g}: {value / low:.3g} times the smallest in the fit ({low:.3g})")
    return found


def compare(fitted: Fit, law: Law) -> dict[str, Any]:
    """A law from elsewhere beside the fitted points: its objective, and which constants the intervals exclude."""
    objective = Objective.of(fitted.points, fitted.delta)
    x = np.array(
        [
            np.log(law.E),
            np.log(law.A) - law.alpha * objective.mean_n,
            np.log(law.B) - law.beta * objective.mean_d,
            law.alpha,
            law.beta,
        ]
    )
    value = float(objective.value(x[None], np.ones((1, len(fitted.points))))[0])
    ranges = {name: fitted.interval(name) for name in NAMES}
    outside = [n for n, r in ranges.items() if r and not r[0] <= float(getattr(law, n)) <= r[1]]
    return {**constants(law), "objective": value, "outside": outside}


def _bootstrap(
    objective: Objective, points: Points, found: _solver.Solution, resamples: int, seed: int
) -> Law:
    """The law of each resample, from the whole table's and its rivals; the lowest point counts."""
    weights_SR = _resampled(points, resamples, seed)
    best_S5, best_S = _solver.descend(objective, np.repeat(found.x_5[None], resamples, 0), weights_SR)
    for other_5 in found.rivals_S5:
        x_S5, value_S = _solver.descend(objective, np.repeat(other_5[None], resamples, 0), weights_SR)
        best_S5 = np.where((value_S < best_S)[:, None], x_S5, best_S5)
        best_S = np.minimum(best_S, value_S)
    return objective.law(best_S5)


def _resampled(points: Points, resamples: int, seed: int) -> FloatArray:
    """How often each point counts in each resample (S, R); points of one run are drawn together."""
    names = points.runs or tuple(map(str, range(len(points))))
    _, of_run = np.unique(np.array(names), return_inverse=True)
    n_runs = int(of_run.max()) + 1
    dice = np.random.default_rng(seed)
    drawn = dice.multinomial(n_runs, np.full(n_runs, 1 / n_runs), resamples)
    return np.asarray(drawn[:, of_run], np.float64)


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _as_numbers(law: Law) -> Law:
    return Law(*(float(np.asarray(getattr(law, name))[0]) for name in NAMES))


def _validate_options(points: Points, drop_highest: int, delta: float, bootstrap: int) -> None:
    if not 0 <= drop_highest <= len(points):
        raise ConfigError(
            f"{drop_highest} points cannot be left out of {len(points)}",
            f"from 0 to {len(points)}",
            code="scaling.bad_option",
        )
    if not delta > 0:
        raise ConfigError(f"a Huber loss with delta {delta}", "a number above 0", code="scaling.bad_option")
    if bootstrap < 0 or 0 < bootstrap < 20:
        raise ConfigError(
            f"{bootstrap} bootstrap resamples", "0, or 20 and more", "1000", code="scaling.bad_option"
        )


def _validate_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value}", "a finite number above 0", code="scaling.bad_option")


def _validate(points: Points) -> None:
    """DataError for a table from which five constants cannot be told."""
    if len(points) < _FEWEST:
        raise DataError(
            f"{len(points)} points for a law with five constants",
            f"{_FEWEST} points or more, over sizes and tokens",
            code="scaling.too_few_points",
        )
    n, d = np.log(points.n_params), np.log(points.tokens)
    for name, values in (("n_params", n), ("tokens", d)):
        if (count := len(np.unique(np.round(values, 3)))) < _FEWEST_VALUES:
            raise DataError(
                f"the table has {count} values of {name}",
                f"{_FEWEST_VALUES} or more, a power of two apart or so",
                code="scaling.no_spread",
            )
    if abs(alike := float(np.corrcoef(n, d)[0, 1])) > _MOST_ALIKE:
        raise DataError(
            f"n_params and tokens change together (correlation of their logarithms {alike:.5f}), so what either does "
            "cannot be told",
            "several token counts for a size",
            code="scaling.collinear",
        )


def _validate_law(law: Law, points: Points) -> None:
    """DataError for a law with an exponent at the end of its range, or a term that explains nothing."""
    for name, exponent, term, values in (
        ("n_params", "alpha", law.A * points.n_params**-law.alpha, points.n_params),
        ("tokens", "beta", law.B * points.tokens**-law.beta, points.tokens),
    ):
        value = float(getattr(law, exponent))
        if float(np.ptp(term)) < _LEAST_FALL * float(points.loss.min()):
            raise DataError(
                f"the losses do not fall with {name} ({values.min():.3g} to {values.max():.3g})",
                "losses like E + A / N^alpha + B / D^beta; learning rate and batch tuned for each size",
                code="scaling.no_law",
            )
        if not _solver.LOWEST * 1.01 < value < _solver.HIGHEST * 0.99:
            raise DataError(
                f"the best {exponent} is {value:.3g}, at the end of the range of exponents",
                f"losses like E + A / N^alpha + B / D^beta, {exponent} from {_solver.LOWEST} to {_solver.HIGHEST}",
                code="scaling.no_law",
            )
