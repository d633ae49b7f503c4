"""Write report.html, report.md and the curves of a run, or of a folder of runs, from their ledgers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

if TYPE_CHECKING:
    from neogpt.report.facts import Score
    from neogpt.report.runs import Stage


def run(args: list[str]) -> int:
    """`neogpt report RUN [--out DIR] [--json]`."""
    tyro.cli(_report, args=args, prog="neogpt report", config=(FlagCreatePairsOff,))
    return 0


def _report(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    out: Path | None = None,
    reference: Path | None = None,
    json: bool = False,
) -> None:
    """Write report.html, report.md, loss.png and, where it was measured, hellaswag.png from a run's ledgers.

    A folder of the runs of several stages gets one report. Nothing is computed anew: the same ledgers give the same
    files, and a run in progress can be reported.

    examples: neogpt report runs/demo        neogpt report runs/demo/sft --out reports/sft --json

    Args:
        run: A run directory, or a folder of the run directories of several stages.
        out: Folder to write to; by default the run directory itself.
        reference: Folder with the original NeoGPT's curves; by default NEOGPT_DATA/reference, if that is there.
        json: Print the facts as JSON, for a script.
    """
    from neogpt import report  # start-up time
    from neogpt.report import facts, png, references

    written = report.write(run, out, reference)
    if json:
        print(_json(run, written))
        return
    stages, _ = report.read(run)
    print(facts.verdict(stages))
    show_scores(stages)
    for note in references.hellaswag_notes(stages):
        print(f"HellaSwag of {note}")
    for path in written:
        print(f"wrote {path}")
    if not png.is_available():
        print("loss.png and hellaswag.png need matplotlib: pip install 'neogpt[plot]'")


def _json(run: Path, written: list[Path]) -> str:
    from neogpt import report  # start-up time

    return json.dumps({**report.summary(run), "files": [str(path) for path in written]}, indent=2)


def show_scores(stages: list[Stage]) -> None:
    """Print the score table: by rich on a terminal, as plain aligned text elsewhere."""
    from neogpt.report import facts  # start-up time

    rows = [row for group in facts.scores(stages).values() for row in group]
    if not rows:
        return
    if sys.stdout.isatty():
        _show_rich(stages, rows)
    else:
        print(plain_table(stages, rows))


def _lines(stages: list[Stage], rows: list[Score]) -> list[list[str]]:
    heads = ["", *(stage.label for stage in stages)]
    return [heads, *([_name(row), *(_figure(row, value) for value in row.values)] for row in rows)]


def _name(row: Score) -> str:
    return f"{row.measure.label} { {'higher': '↑', 'lower': '↓', '': ''}[row.measure.better] }".strip()


def _figure(row: Score, value: float | None) -> str:
    return "–" if value is None else f"{row.text(value)} {row.sign(value)}".strip()


def plain_table(stages: list[Stage], rows: list[Score]) -> str:
    """The scores as lines of text with aligned columns."""
    lines = _lines(stages, rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _show_rich(stages: list[Stage], rows: list[Score]) -> None:
    from rich.console import Console  # start-up time
    from rich.table import Table
    from rich.text import Text

    heads, *lines = _lines(stages, rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if index else "left")
    for row, line in zip(rows, lines, strict=True):
        cells = [Text(text, style=_style(row, v)) for text, v in zip(line[1:], row.values, strict=True)]
        table.add_row(Text(line[0]), *cells)
    Console().print(table)


def _style(row: Score, value: float | None) -> str:
    if value is None:
        return "dim"
    color = {"●": "blue", "◐": "yellow", "○": "red"}.get(row.sign(value), "")
    return f"bold {color}".strip() if row.is_best(value) else color
