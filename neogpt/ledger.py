"""Append-only JSON lines: the one record of a run, of which plots, reports and trackers are views."""

import json
import os
from pathlib import Path
from typing import Any

from neogpt import atomic

Row = dict[str, Any]


def append(path: Path, row: Row) -> None:
    """Add one row; a crash can tear at most the last line, which `read` then leaves out."""
    with open(path, "a+b") as file:
        if file.tell() and not _ends_with_newline(path):
            file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")


def read(path: Path) -> list[Row]:
    """All whole rows, oldest first; an absent file is an empty ledger."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def cut_back(path: Path, step: int) -> None:
    """Keep only rows up to `step`, so that a resumed run writes each later step once."""
    rows = [row for row in read(path) if row.get("step", 0) <= step]
    atomic.write_bytes(path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def series(rows: list[Row], key: str) -> tuple[list[int], list[float]]:
    """The steps and values of the rows that have `key`."""
    points = [(row["step"], row[key]) for row in rows if key in row and "step" in row]
    return [step for step, _ in points], [value for _, value in points]


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
