"""What `neogpt study scaling` answers: the law with its intervals, and everything that its reader should know."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neogpt.studies.scaling import fit as fitting
from neogpt.studies.scaling.fit import Fit
from neogpt.studies.scaling.law import NAMES, PUBLISHED
from neogpt.studies.scaling.points import Points

_STRAY = 10.0
_SHOWN = (*NAMES, "size_exponent")


def answer(
    points: Points,
    *,
    count: str = "total",
    drop_highest: int = 0,
    delta: float = fitting.DELTA,
    bootstrap: int = 1000,
    seed: int = 0,
    flops: Sequence[float] = (),
    predictions: Sequence[tuple[float, float]] = (),
    against: Sequence[str] = (),
) -> tuple[Fit, dict[str, Any]]:
    """The fit, and all that is said of it as plain values for JSON.

    flops: budgets to tell the best size for; by default the largest of the table and ten times that. predictions:
    (parameters, tokens) to tell the loss of. against: names in `law.PUBLISHED`. Errors: as `fit.fit` and
    `Points.counting`.
    """
    counted = points.counting(count)
    fitted = fitting.fit(counted, drop_highest, delta, bootstrap, seed)
    choices = fitting.spread(counted, drop_highest)
    largest = float(fitted.points.flops.max())
    values: dict[str, Any] = {
        **fitting.constants(fitted.law),
        "intervals": _intervals(fitted),
        "standard_errors": _standard_errors(fitted),
        "level": fitting.LEVEL,
        "points": _described(fitted),
        "count": count,
        "loss": {"kind": "huber on log L, summed", "delta": delta, "value": fitted.value},
        "bootstrap": {"resamples": bootstrap, "seed": seed, "of": "runs" if counted.runs else "points"},
        "starts": {"all": fitted.starts, "agreeing": fitted.agreeing},
        "residual_spread": fitted.residual_spread,
        "spread": choices,
        "size_exponent_range": _range(choices),
        "other_count": _other_count(points, count, drop_highest, delta, bootstrap, seed),
        "optimum": [fitting.optimum(fitted, budget) for budget in flops or (largest, 10 * largest)],
        "predictions": [fitting.predict(fitted, n, d, seed) for n, d in predictions],
        "against": {name: fitting.compare(fitted, PUBLISHED[name]) for name in against},
    }
    return fitted, {**values, "warnings": _warnings(fitted, values)}


def _intervals(fitted: Fit) -> dict[str, tuple[float, float]]:
    found = {name: fitted.interval(name) for name in _SHOWN}
    return {name: interval for name, interval in found.items() if interval}


def _standard_errors(fitted: Fit) -> dict[str, float]:
    if fitted.resampled is None:
        return {}
    return {name: float(np.std(getattr(fitted.resampled, name), ddof=1)) for name in _SHOWN}


def _described(fitted: Fit) -> dict[str, Any]:
    points = fitted.points
    ranges = {
        "n_params": points.n_params,
        "tokens": points.tokens,
        "flops": points.flops,
        "loss": points.loss,
    }
    return {
        "fitted": len(points),
        "left_out": fitted.left_out,
        **{name: [float(values.min()), float(values.max())] for name, values in ranges.items()},
    }


def _range(choices: Sequence[dict[str, Any]]) -> list[float]:
    """Lowest and highest exponent of the optimal size among the choices that gave a law."""
    found = [row["size_exponent"] for row in choices if "size_exponent" in row]
    return [min(found), max(found)] if found else []


def _other_count(
    points: Points, count: str, drop_highest: int, delta: float, bootstrap: int, seed: int
) -> dict[str, Any] | None:
    """The same fit with parameters counted the other way; None where the table has one count only."""
    if points.n_params_non_embedding is None:
        return None
    other = "non-embedding" if count == "total" else "total"
    fitted = fitting.fit(points.counting(other), drop_highest, delta, bootstrap, seed)
    return {
        "count": other,
        **fitting.constants(fitted.law),
        "intervals": _intervals(fitted),
        "residual_spread": fitted.residual_spread,
        "value": fitted.value,
    }


def _warnings(fitted: Fit, values: dict[str, Any]) -> list[str]:
    found = [*_strays(fitted), *_unsteady(fitted)]
    if (ends := values["size_exponent_range"]) and ends[1] - ends[0] > 0.02:
        found.append(
            f"the optimal size's exponent is {ends[0]:.2f} to {ends[1]:.2f} by the choice of loss and of the points of "
            "highest loss alone; the bootstrap intervals do not cover that"
        )
    for row in [*values["optimum"], *values["predictions"]]:
        found += [f"extrapolation: {line}" for line in row["extrapolation"]]
    return list(dict.fromkeys(found))


def _strays(fitted: Fit) -> list[str]:
    """Runs that the law does not describe."""
    far = np.abs(fitted.residuals) > _STRAY * fitted.residual_spread
    if not far.any():
        return []
    n = int(far.sum())
    highest = np.argsort(-fitted.points.loss, kind="stable")[:n]
    hint = (
        f"; they are those of highest loss: --drop-highest {fitted.left_out + n}"
        if far[highest].all()
        else ""
    )
    line = f"{n} of {len(far)} points lie more than {_STRAY:g} times the residual spread from the law{hint}"
    return [line]


def _unsteady(fitted: Fit) -> list[str]:
    """What the points do not tell."""
    found = []
    if float(fitted.law.E) < 1e-6 * float(fitted.points.loss.min()):
        found.append("E is 0 within rounding: the points do not show the loss leveling off")
    if fitted.agreeing == 1:
        found.append(
            f"only one of {fitted.starts} starts ended in the lowest point: it may not be the lowest of all"
        )
    for name in ("alpha", "beta"):
        interval = fitted.interval(name)
        if interval and interval[1] - interval[0] > float(getattr(fitted.law, name)):
            found.append(
                f"the interval of {name} ({interval[0]:.3g} to {interval[1]:.3g}) is wider than {name} itself: "
                "more points, over a wider range, are needed"
            )
    return found
