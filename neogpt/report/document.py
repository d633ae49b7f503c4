"""An HTML page that is one file: it needs no network, no script and no other file."""

from pathlib import Path

from neogpt.report.markup import Markup, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A page may load and run nothing at all: what models wrote stays text even in a browser's eyes."""


def document(title: str, *body: object, css: str = "", policy: str = POLICY) -> str:
    """The page with that title and body in the report's style, and `css` after it; `policy` is what it may load."""
    style = Path(__file__).with_name("style.css").read_text()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style + css)),
    )
    return "<!doctype html>\n" + tag("html", head, "\n", tag("body", *body), lang="en") + "\n"
