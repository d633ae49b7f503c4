"""Small line and dot charts as inline SVG; colors, fonts and dark mode come from the page's style.css."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from neogpt.report import curves
from neogpt.report.markup import Markup, tag

Style = Literal["line", "thin", "faint", "dash", "dots"]
LABEL_GAP = 15
CHARACTER = 6.6
"""Width of an average character at the chart's font size of 12, in the chart's units."""


@dataclass(frozen=True)
class Line:
    """One curve; `color` is a class of style.css, `label` stands at its right end."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    label: str = ""
    style: Style = "line"
    noisy: bool = False
    """Its highest half per cent may leave the frame."""
    dotted: bool = False
    """Each point is marked."""
    spread: Sequence[float] = ()
    """Standard error of each value, drawn as a band around the curve."""


@dataclass(frozen=True)
class Axis:
    """The horizontal axis: its name, its marks (None: chosen), and whether it is logarithmic."""

    name: str = ""
    marks: Sequence[tuple[float, str]] | None = None
    log: bool = False
    ends: tuple[float, float] | None = None


def plain(value: float) -> str:
    """A tick's number, as short as it can be."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """A tick's share."""
    return f"{100 * value:g}%"


class Frame:
    """Where values land on a chart of a given size."""

    def __init__(
        self,
        lines: Sequence[Line],
        axis: Axis,
        size: tuple[int, int],
        y: tuple[float, float],
        top: float = 14.0,
        room: int = 0,
    ) -> None:
        self.axis, self.size = axis, size
        longest = max(room, *(len(line.label) for line in lines))
        self.left, self.right = 44.0, size[0] - 10 - longest * CHARACTER
        self.top, self.bottom = top, size[1] - (40.0 if axis.name else 24.0)
        xs = [x for line in lines for x in (line.xs[0], line.xs[-1])]
        self.low, self.high = axis.ends or (min(xs), max(xs))
        if axis.log:
            self.low = max(self.low, 1.0)
        self.y_low, self.y_high = y

    def across(self, value: float) -> float:
        """0 to 1 along the horizontal axis."""
        if self.high <= self.low:
            return 0.5
        if self.axis.log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def x(self, value: float) -> float:
        return self.left + self.across(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return self.bottom - min(max(share, -0.05), 1.05) * (self.bottom - self.top)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    axis: Axis = Axis(),
    form: Callable[[float], str] = plain,
    y: tuple[float, float] | None = None,
    bands: Sequence[tuple[float, str]] = (),
    size: tuple[int, int] = (440, 260),
    room: int = 0,
    class_: str | None = None,
) -> Markup:
    """A chart of `lines` as one <svg>.

    `bands` are (where it begins, name) along the horizontal axis; `room` is how many characters wide the labels
    may be (so that the frames of several charts are equal), at least as wide as they are.
    """
    if y is None:
        main = [v for line in lines if not line.noisy for v in line.ys]
        noisy = [v for line in lines if line.noisy for v in line.ys]
        y = curves.bounds(main or noisy, noisy)
    frame = Frame(lines, axis, size, y, top=34.0 if bands else 14.0, room=room)
    return tag(
        "svg",
        tag("title", title),
        _grid(frame, form),
        _marks(frame),
        [_band(frame, start, name) for start, name in bands],
        [_curve(frame, line) for line in lines],
        _labels(frame, lines),
        viewBox=f"0 0 {size[0]} {size[1]}",
        role="img",
        class_=class_,
    )


def _grid(frame: Frame, form: Callable[[float], str]) -> list[Markup]:
    found = []
    for value in curves.ticks(frame.y_low, frame.y_high):
        y = _fixed(frame.y(value))
        found.append(tag("path", d=f"M{_fixed(frame.left)} {y}H{_fixed(frame.right)}", class_="grid"))
        found.append(_text(frame.left - 8, frame.y(value) + 4, form(value), "tick end"))
    return found


def _marks(frame: Frame) -> list[Markup]:
    marks = frame.axis.marks
    if marks is None:
        values = (curves.log_ticks if frame.axis.log else curves.ticks)(frame.low, frame.high)
        marks = [(value, f"{value:,.0f}") for value in values]
    found = [_text(frame.x(value), frame.bottom + 17, text, "tick mid") for value, text in marks]
    if frame.axis.name:
        found.append(_text((frame.left + frame.right) / 2, frame.bottom + 34, frame.axis.name, "tick mid"))
    return found


def _band(frame: Frame, start: float, name: str) -> list[Markup]:
    x = frame.x(start)
    line = tag("path", d=f"M{_fixed(x)} {_fixed(frame.top - 26)}V{_fixed(frame.bottom)}", class_="border")
    return [line, _text(x + 7, frame.top - 15, name, "band")]


def _curve(frame: Frame, line: Line) -> list[Markup]:
    columns = max(1, int(frame.right - frame.left))
    across, ys = curves.thin([frame.across(x) for x in line.xs], line.ys, columns)
    width = frame.right - frame.left
    points = [(_fixed(frame.left + a * width), _fixed(frame.y(v))) for a, v in zip(across, ys, strict=True)]
    found = []
    if len(points) > 1:
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        found.append(tag("path", d=path, class_=f"curve {line.style} {line.color}"))
    if line.style == "dots" or line.dotted or len(points) == 1:
        found += [tag("circle", cx=x, cy=y, r="2.6", class_=f"dot {line.color}") for x, y in points]
    return found


def _labels(frame: Frame, lines: Sequence[Line]) -> list[Markup]:
    named = [line for line in lines if line.label]
    wanted = [frame.y(line.ys[-1]) + 4 for line in named]
    places = curves.spread(wanted, LABEL_GAP, frame.top + 4, frame.bottom)
    return [
        _text(frame.right + 7, place, line.label, f"label {line.color}")
        for place, line in zip(places, named, strict=True)
    ]


def pair_chart(
    rows: Sequence[tuple[str, float, float]], names: tuple[str, str], colors: tuple[str, str], title: str
) -> Markup:
    """Two shares (0 to 1) a row, as a filled and a hollow dot on one scale, so that the gap is seen."""
    width, row_height, left, right = 440, 44, 14.0, 392.0
    height = 34 + row_height * len(rows) + 18
    found = [
        tag("title", title),
        _dot(left + 6, 12, colors[0], hollow=False),
        _dot(left + 168, 12, colors[1]),
    ]
    found += [_text(left + 18, 16, names[0], f"label {colors[0]}")]
    found += [_text(left + 180, 16, names[1], f"label {colors[1]}")]
    for index, (label, first, second) in enumerate(rows):
        y = 34.0 + row_height * index
        xs = [left + value * (right - left) for value in (first, second)]
        found.append(_text(left - 4, y + 12, label, "row"))
        found.append(tag("path", d=f"M{left} {y + 25}H{right}", class_="grid"))
        found.append(tag("path", d=f"M{_fixed(xs[0])} {y + 25}H{_fixed(xs[1])}", class_="bridge"))
        found += [_dot(xs[0], y + 25, colors[0], hollow=False), _dot(xs[1], y + 25, colors[1])]
    for share in (0.0, 0.5, 1.0):
        found.append(_text(left + share * (right - left), height - 6, f"{share:.0%}", "tick mid"))
    return tag("svg", found, viewBox=f"0 0 {width} {height}", role="img", class_="pairs")


def _dot(x: float, y: float, color: str, hollow: bool = True) -> Markup:
    kind = "hollow" if hollow else "dot"
    return tag("circle", cx=_fixed(x), cy=_fixed(y), r="6" if hollow else "4.5", class_=f"{kind} {color}")


def _text(x: float, y: float, text: str, class_: str) -> Markup:
    return tag("text", text, x=_fixed(x), y=_fixed(y), class_=class_)


def _fixed(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
