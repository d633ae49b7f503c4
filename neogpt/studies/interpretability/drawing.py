"""Small pictures for the page: heat maps as PNG inside the page, shaded words, bars to both sides of zero."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neogpt.report.markup import Markup, tag

INK = (11, 107, 168)
"""The colour of a heat map on white and on black paper alike: its strength is its opacity."""
FLOOR = 0.004
"""Shares below this are not drawn: nobody would see them."""


def heat_map(values: NDArray[np.float32], title: str) -> Markup:
    """Values between 0 and 1, (rows, columns), as a picture with one pixel each; the page scales it."""
    return tag("img", src=png(values), alt=title, title=title, class_="heat")


def png(values: NDArray[np.float32]) -> str:
    """The same as a data address: a PNG of one colour whose opacity is the value."""
    height, width = values.shape
    levels = np.clip(np.rint(np.asarray(values) * 255), 0, 255).astype(np.uint8)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1)  # 0: unfiltered
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(INK) * 256),
        (b"tRNS", bytes(range(256))),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def words(texts: Sequence[str], weights: Sequence[float], notes: Sequence[str]) -> Markup:
    """A line of tokens, each shaded by its weight from -1 (the other colour) to 1; a note appears on pointing."""
    spans = [
        tag("span", _spaced(text), class_="token", title=note, style=_shade(weight))
        for text, weight, note in zip(texts, weights, notes, strict=True)
    ]
    return tag("p", spans, class_="words")


def _spaced(text: str) -> str:
    """A token with its leading space where a reader can see it."""
    return f"\N{NO-BREAK SPACE}{text[1:]}" if text.startswith(" ") else text


def _shade(weight: float) -> str | None:
    """A background of the stage's colour, or of the opposite one below 0, as strong as the weight."""
    if abs(weight) < FLOOR:
        return None
    colour = "var(--c)" if weight > 0 else "var(--against)"
    return f"background:color-mix(in srgb,{colour} {min(abs(weight), 1):.0%},transparent)"


def shaded(text: str, weight: float, note: str = "", class_: str = "cell") -> Markup:
    """A cell whose background is as strong as its weight, 0 to 1; dark ones have light text."""
    strong = " strong" if weight > 0.55 else ""
    return tag("span", text, class_=f"{class_}{strong}", title=note or None, style=_shade(weight))


def bar(value: float, largest: float) -> Markup:
    """A bar from the middle to the right, or below 0 to the left, and its number."""
    share = 0.0 if not largest else min(abs(value) / largest, 1)
    side = "right" if value >= 0 else "left"
    number = f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
    drawn = tag("i", class_=side, style=f"--share:{share:.3f}")
    return tag(
        "span", tag("span", drawn, class_="track"), tag("data", number, value=repr(value)), class_="lever"
    )


def grid(rows: Sequence[Sequence[object]], columns: str, class_: str) -> Markup:
    """Rows of cells under each other, the first being heads: a table by its roles, laid out by the style sheet."""
    lines = []
    for index, row in enumerate(rows):
        role = "cell" if index else "columnheader"
        cells = [
            tag("div", cell, role="rowheader" if index and not i else role) for i, cell in enumerate(row)
        ]
        lines.append(tag("div", cells, role="row"))
    table = tag("div", lines, role="table", class_=f"sheet {class_}", style=f"--columns:{columns}")
    return tag("div", table, class_="scroll")
