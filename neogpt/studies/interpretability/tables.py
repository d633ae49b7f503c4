"""The pages of the studies over many texts: tables, shaded tables and curves under headings, one file, no script."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from neogpt.report import svg
from neogpt.report.document import document
from neogpt.report.markup import Markup, join, tag
from neogpt.report.svg import Axis, Line
from neogpt.studies.interpretability.drawing import grid, shaded


def study_page(title: str, lead: str, sections: Sequence[Markup | None], command: str) -> str:
    """The page as HTML."""
    header = tag(
        "header",
        tag("p", "NeoGPT · study", class_="over"),
        tag("h1", title),
        tag("p", lead, class_="verdict"),
    )
    footer = tag(
        "footer", tag("p", "The same numbers stand in the JSON file. Made by ", tag("code", command), ".")
    )
    css = Path(__file__).with_name("page.css").read_text()
    return document(f"{title} – NeoGPT", tag("main", header, sections), footer, css=css)


def section(heading: str, lead: str, *children: object) -> Markup:
    """One part of the page: a heading, what it shows, and the figures."""
    return join(["\n", tag("section", tag("h2", heading), tag("p", lead, class_="lead"), *children)])


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Rows of text under heads; the first column is as wide as it needs to be."""
    columns = f"max-content repeat({len(heads) - 1},minmax(5rem,1fr))"
    return grid([list(heads), *[list(row) for row in rows]], columns, "plain base")


def shares(heads: Sequence[str], rows: Mapping[str, Sequence[float | None]], top: float = 1.0) -> Markup:
    """A table of numbers, each cell as dark as its share of `top`; None is an empty cell."""
    drawn: list[list[object]] = [
        [
            name,
            *("" if value is None else shaded(f"{value:.2f}", max(value, 0.0) / top) for value in values),
        ]
        for name, values in rows.items()
    ]
    return table(heads, drawn)


def curve(heading: str, lines: Sequence[Line], axis: Axis, y: tuple[float, float] | None = None) -> Markup:
    """A chart of lines over one axis under its heading."""
    chart = svg.line_chart(lines, title=heading, axis=axis, y=y)
    return tag("figure", tag("figcaption", tag("b", heading)), chart)
