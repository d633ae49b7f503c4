"""The law as a picture: IsoFLOP curves with their parabolas, and the best size by compute (extra: neogpt[plot])."""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

from neogpt import atomic
from neogpt.errors import ConfigError, DataError
from neogpt.report.png import COLORS, GRID, SOFT, STYLE
from neogpt.studies.scaling import isoflop
from neogpt.studies.scaling.fit import Fit
from neogpt.studies.scaling.isoflop import IsoFlop

_AHEAD = 10.0
"""How far beyond the largest compute the law is drawn, dashed: an extrapolation."""


def draw(fitted: Fit, path: Path) -> None:
    """Write a PNG: left the runs with the law and, where budgets have several sizes, parabolas; right N_opt by compute.

    Errors: ConfigError (scaling.no_matplotlib) without the extra.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "matplotlib is not installed",
            "the extra for plots",
            "pip install 'neogpt[plot]'",
            code="scaling.no_matplotlib",
        )
    import matplotlib  # extra: plot
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    try:
        drawn = isoflop.parabolas(fitted.points)
    except DataError:
        drawn = None  # the table has no IsoFLOP curves, and the picture says so
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.9), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _sizes(left, fitted, drawn)
        _optimum(right, fitted, drawn)
        for panel in (left, right):
            panel.grid(color=GRID, linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic.write_bytes(path, buffer.getvalue())


def _sizes(panel: Any, fitted: Fit, drawn: IsoFlop | None) -> None:
    """Loss over parameters."""
    points = fitted.points
    panel.plot(points.n_params, points.loss, "o", markersize=2.5, color=COLORS["ink"], label="runs", zorder=4)
    for i, parabola in enumerate(drawn.parabolas if drawn else []):
        sizes = parabola.points.n_params
        N = np.geomspace(sizes.min(), sizes.max(), 60)
        law = fitted.law.loss(N, parabola.flops / (6 * N))
        names = ("law at equal compute", "parabola") if i == 0 else ("_", "_")
        panel.plot(N, law, color=COLORS["base"], linewidth=1.2, label=names[0])
        panel.plot(N, parabola.at(N), "--", color=COLORS["lesson"], linewidth=0.9, label=names[1])
    title = "Runs of equal compute" if drawn else "Runs (no budget has sizes enough for a parabola)"
    _named(panel, title, "parameters N", "loss")
    panel.legend(frameon=False, fontsize=7.5)


def _optimum(panel: Any, fitted: Fit, drawn: IsoFlop | None) -> None:
    """Best size over compute, dashed where no run has been."""
    low, high = float(fitted.points.flops.min()), float(fitted.points.flops.max())
    for ends, style, name in (((low, high), "-", "law"), ((high, _AHEAD * high), "--", "law, extrapolated")):
        C = np.geomspace(*ends, 40)
        panel.plot(C, fitted.law.optimum(C)[0], style, color=COLORS["base"], linewidth=1.4, label=name)
        if fitted.resampled is not None:
            sizes = np.array([np.quantile(fitted.resampled.optimum(c)[0], [0.025, 0.975]) for c in C])
            panel.fill_between(C, sizes[:, 0], sizes[:, 1], color=COLORS["base"], alpha=0.15, linewidth=0)
    if drawn:
        inside = [p for p in drawn.parabolas if p.is_inside]
        xs, ys = [p.flops for p in inside], [p.n_params for p in inside]
        panel.plot(xs, ys, "s", markersize=3.5, color=COLORS["lesson"], label="lowest points of parabolas")
    _named(
        panel,
        f"Best size: N ~ C^{float(fitted.law.size_exponent):.3f}",
        "compute 6 N D, FLOPs",
        "parameters N",
    )
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(_power)
    panel.legend(frameon=False, fontsize=7.5)


def _named(panel: Any, title: str, x: str, y: str) -> None:
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(_power)
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=COLORS["ink"])
    panel.set_xlabel(x, color=SOFT)
    panel.set_ylabel(y, color=SOFT)


def _power(value: float, _: int) -> str:
    return f"{value:.0e}".replace("e+", "e")
