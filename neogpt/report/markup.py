"""HTML that is safe by construction: plain text is escaped where it enters, only Markup passes as it is."""

import html
from collections.abc import Iterable

_EMPTY_ELEMENTS = {"meta", "br", "hr", "img", "link"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Text as HTML: Markup unchanged, everything else with its special characters made harmless."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(str(text))))


def join(children: Iterable[object], between: str = "") -> Markup:
    """The children one after another, each escaped; None is nothing, and an iterable is joined in turn."""
    return Markup(escape(between).join(_child(child) for child in children))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """`<name attributes>children</name>`; class_ and aria_label stand for class and aria-label.

    An attribute of value None is left out.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    listed = "".join(f' {key}="{escape(value)}"' for key, value in pairs if value is not None)
    if name in _EMPTY_ELEMENTS:
        return Markup(f"<{name}{listed}>")
    return Markup(f"<{name}{listed}>{join(children)}</{name}>")


def _child(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return join(child)
    return escape(child)


def printable(text: str) -> str:
    """Text without control characters and lone surrogates, which no text file should hold."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unprintable(c) else c for c in text)


def _is_unprintable(character: str) -> bool:
    code = ord(character)
    return (code < 32 and character not in "\n\t") or code == 127 or 0xD800 <= code <= 0xDFFF
