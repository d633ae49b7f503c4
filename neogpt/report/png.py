"""loss.png and hellaswag.png, drawn by matplotlib without a screen (extra: `pip install 'neogpt[plot]'`)."""

import importlib.util
import io
import warnings
from collections.abc import Sequence
from typing import Any

from neogpt.report import curves, plots
from neogpt.report.references import Original
from neogpt.report.runs import Stage
from neogpt.report.svg import Line

COLORS = {
    "base": "#0b6ba8",
    "sft": "#00795a",
    "dpo": "#9b3d79",
    "lesson": "#b8480b",
    "rl": "#7a5c00",
    "other": "#5c6670",
    "ink": "#1b1f24",
}
SOFT, GRID = "#5c6670", "#e3e7eb"
LOOKS: dict[str, dict[str, Any]] = {
    "faint": {"linewidth": 0.7, "alpha": 0.3},
    "line": {"linewidth": 1.8},
    "thin": {"linewidth": 1.1},
    "dash": {"linewidth": 1.8, "linestyle": (0, (3, 2))},
    "dots": {"linewidth": 0, "marker": "o", "markersize": 3.2, "clip_on": False, "zorder": 4},
}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}


def is_available() -> bool:
    """True when matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def losses(stages: list[Stage], original: Original | None = None) -> bytes | None:
    """One panel a stage with its loss curves, as PNG; None when no stage has logged a loss."""
    found = plots.losses(stages, original)
    return _drawn(found, "loss") if found else None


def hellaswag(stages: list[Stage], original: Original | None = None) -> bytes | None:
    """HellaSwag accuracy, above chance and beside what it compares with; None when not measured."""
    found = plots.hellaswag(stages, original)
    return _drawn(found, "accuracy") if found else None


def _drawn(found: Sequence[plots.Plot], quantity: str) -> bytes:
    import matplotlib  # extra: plot
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, hspace=0.06, wspace=0.04)
        width = 5.2 * columns if columns > 1 else 7.6
        figure = Figure(figsize=(width, 3.5 * rows), dpi=160, layout=layout)
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for plot, panel in zip(found, axes, strict=False):
            _panel(panel, plot, quantity)
        for panel in axes[len(found) :]:
            panel.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(panel: Any, plot: plots.Plot, quantity: str) -> None:
    noisy = [v for line in plot.lines if line.noisy for v in line.ys]
    main = [v for line in plot.lines if not line.noisy for v in line.ys]
    bars = [v for line in plot.lines if len(line.xs) == 1 for ends in _spread(line) for v in ends]
    low, high = curves.bounds([*main, *bars], noisy)
    panel.set_ylim(low, high)
    if plot.axis.ends and plot.axis.marks:
        if plot.axis.log:
            panel.set_xscale("log")
        panel.set_xlim(*plot.axis.ends)
        panel.set_xticks([x for x, _ in plot.axis.marks], [text for _, text in plot.axis.marks], minor=False)
        panel.set_xticks([], minor=True)
    elif plot.axis.log:
        panel.set_xscale("log")
        panel.set_xlim(1, max(line.xs[-1] for line in plot.lines))
        marks = curves.log_ticks(1, panel.get_xlim()[1])
        panel.set_xticks(marks, [f"{mark:,.0f}" for mark in marks], minor=False)
        panel.set_xticks([], minor=True)
    else:
        marks = curves.ticks(0, max(line.xs[-1] for line in plot.lines))
        panel.set_xticks(marks, [f"{mark:,.0f}" for mark in marks])
    heights = curves.ticks(low, high)
    panel.set_yticks(heights, [plot.form(height) for height in heights])
    for line in plot.lines:
        _curve(panel, line)
    _labels(panel, [line for line in plot.lines if line.label], low, high)
    panel.set_title(plot.heading, loc="left", fontsize=11, fontweight="bold", color=COLORS["ink"], pad=10)
    panel.set_xlabel(plot.axis.name)
    if plot.caption:
        panel.annotate(
            plot.caption,
            (0, 0),
            (0, -34),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=7.5,
            color=SOFT,
        )
    panel.set_ylabel(quantity)
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)


def _curve(panel: Any, line: Line) -> None:
    if line.style == "dots":
        panel.plot(line.xs, line.ys, color=COLORS[line.color], linewidth=0.9, alpha=0.5, linestyle=":")
    look = LOOKS["dots"] if len(line.xs) == 1 else LOOKS[line.style]
    panel.plot(line.xs, line.ys, color=COLORS[line.color], solid_capstyle="round", **look)
    if not line.spread:
        return
    low, high = _spread(line)
    if len(line.xs) == 1:  # a band would have no width
        panel.vlines(line.xs, low, high, color=COLORS[line.color], alpha=0.5)
    else:
        panel.fill_between(line.xs, low, high, color=COLORS[line.color], alpha=0.15, linewidth=0)


def _spread(line: Line) -> tuple[list[float], list[float]]:
    """A standard error below each value, and one above it; nothing where none is known."""
    around = list(zip(line.ys, line.spread, strict=False))
    return [y - error for y, error in around], [y + error for y, error in around]


def _labels(panel: Any, lines: Sequence[Line], low: float, high: float) -> None:
    places = curves.spread([line.ys[-1] for line in lines], (high - low) * 0.075, low, high)
    for line, place in zip(lines, places, strict=True):
        panel.annotate(
            line.label,
            (1.02, (place - low) / (high - low)),
            xycoords="axes fraction",
            va="center",
            color=COLORS[line.color],
            fontweight="bold",
            annotation_clip=False,
        )
