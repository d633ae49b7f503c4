"""samples.md: what the model wrote at each evaluation, for reading while it trains."""

import re
import warnings

from neogpt import atomic, ledger
from neogpt.ledger import Row
from neogpt.paths import RunDir

_MOST = 20
"""Samples shown of one step; the ledger has the rest."""


class SampleSheet:
    """A tracker that makes a run's samples.md anew after each evaluation; a disk that refuses it stops nothing."""

    def __init__(self, files: RunDir) -> None:
        self.files = files
        self._broken = False

    def row(self, row: Row) -> None:
        """Nothing: samples have a ledger of their own."""

    def event(self, event: Row) -> None:
        """Write the sheet."""
        if event["event"] != "eval" or self._broken or not self.files.samples.exists():
            return
        try:
            rows = ledger.read(self.files.samples)
            atomic.write_text(self.files.sample_sheet, sheet(self.files.root.resolve().name, rows))
        except OSError as error:
            self._broken = True
            warnings.warn(f"samples.md is left out from here on: {error}", stacklevel=2)


def sheet(name: str, rows: list[Row]) -> str:
    """The samples as Markdown, by step, newest first; texts stand in code blocks, as they are."""
    steps: dict[int, list[Row]] = {}
    for row in rows:
        steps.setdefault(row["step"], []).append(row)
    parts = [f"# What {name} writes\n\nNewest first; `samples.jsonl` has all of it.\n"]
    for step in sorted(steps, reverse=True):
        parts.append(f"\n## Step {step:,}\n")
        parts += [_block(row) for row in steps[step][:_MOST]]
        if (more := len(steps[step]) - _MOST) > 0:
            parts.append(f"\n… and {more:,} more.\n")
    return "".join(parts)


def _block(row: Row) -> str:
    text = f"{row.get('question', '')}\n→ {row.get('answer', '')}"
    fence = "~" * max([3, *(len(run) + 1 for run in re.findall("~+", text))])
    verdict = f" ({row['verdict']})" if row.get("verdict") else ""
    return f"\n{row.get('eval', '')}{verdict}\n\n{fence}text\n{text}\n{fence}\n"
