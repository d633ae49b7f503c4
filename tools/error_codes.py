"""Writes docs/errors.md: every code that an error can carry, with its exit code and an example of what it says.

python tools/error_codes.py          # after a change of codes; tests/test_errors.py holds the page to the sources
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from neogpt import errors

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"
CLASSES = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
_HEAD = """# Error codes

An error says what happened, what was expected and what to type. Its code is for scripts: `--json` prints
`{"error": {"code": ..., "exit_code": ..., "what": ..., "expected": ..., "try": ...}}`, and `-v` shows it behind
the text. Codes stay as they are; the text may change. This page is written by `tools/error_codes.py`; "…" stands for
names and numbers.

| code | exit code | for example |
|---|---|---|
"""


class Raised(NamedTuple):
    """A place that makes an error."""

    place: str
    kind: str
    code: str
    what: str


def raised() -> Iterator[Raised]:
    """Every call of an error class in the package."""
    for path in sorted((ROOT / "neogpt").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda node: node.lineno):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name in CLASSES and call.args:
                given = [word.value for word in call.keywords if word.arg == "code"]
                for code in _codes(given[0]) if given else [""]:
                    yield Raised(f"{path.relative_to(ROOT)}:{call.lineno}", name, code, _text(call.args[0]))


def _codes(node: ast.expr) -> list[str]:
    """The codes that an expression can give; `NAME` for a part that is filled in."""
    if isinstance(node, ast.IfExp):
        return [*_codes(node.body), *_codes(node.orelse)]
    return [_text(node).replace("\u2026", "NAME")]


def _text(node: ast.expr) -> str:
    """A literal as a reader sees it, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "…"


def page() -> str:
    """The whole page."""
    rows = {}
    for each in raised():
        known = rows.get(each.code)
        if known is None or (known[1] == "…" and each.what != "…"):
            rows[each.code] = (CLASSES[each.kind].exit_code, each.what.split("\n")[0])
    lines = [
        f"| `{code}` | {number} | {what.replace('|', '/')} |" for code, (number, what) in sorted(rows.items())
    ]
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
