"""Append-only JSON lines: the one record of a run, of which plots, reports and trackers are views."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neogpt import atomic
from neogpt.errors import ConfigError

Row = dict[str, Any]
REGRESSED = "regressed"
"""In an evaluation's row: the guardrails that it lost; absent where all held."""


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


def last_good_step(rows: Iterable[Row]) -> int | None:
    """The step of the newest evaluation at which all guardrails held; None where none was ever lost."""
    evaluations = [row for row in rows if "grad_norm" not in row and "step" in row]
    good = [int(row["step"]) for row in evaluations if not row.get(REGRESSED)]
    return max(good, default=0) if any(row.get(REGRESSED) for row in evaluations) else None


def standing_row(rows: Iterable[Row], key: str) -> Row:
    """The newest evaluation's row that has `key` and lost no guardrail; empty where there is none."""
    return next((row for row in reversed(list(rows)) if key in row and not row.get(REGRESSED)), {})


def cut_back(path: Path, step: int) -> None:
    """Keep only rows up to `step`, so that a resumed run writes each later step once."""
    rows = [row for row in read(path) if row.get("step", 0) <= step]
    atomic.write_bytes(path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def series(rows: list[Row], key: str) -> tuple[list[int], list[float]]:
    """The steps and values of the rows that have `key`."""
    points = [(row["step"], row[key]) for row in rows if key in row and "step" in row]
    return [step for step, _ in points], [value for _, value in points]


def signs(names: Iterable[str]) -> dict[str, int]:
    """Scores that settings name, as NAME, or NAME:low where low is good: 1 or -1 for each."""
    return {name.removesuffix(":low"): -1 if name.endswith(":low") else 1 for name in names}


def total(row: Row, names: Iterable[str]) -> float:
    """The sum of the row's scores of these names, those where low is good taken off; NaN where one is no number."""
    found = 0.0
    for name, sign in signs(names).items():
        value = row.get(name)
        found += sign * value if isinstance(value, float | int) and math.isfinite(value) else math.nan
    return found


def totals(rows: Iterable[Row], names: Iterable[str]) -> dict[int, float]:
    """Step -> `total` of its evaluation, for those evaluations that have all of these scores as numbers."""
    found = {row["step"]: total(row, names) for row in rows if "grad_norm" not in row and "step" in row}
    return {step: score for step, score in found.items() if isinstance(step, int) and math.isfinite(score)}


def demand(row: Row, names: Iterable[str], what: str) -> None:
    """ConfigError, which calls them `what`, unless the evaluation `row` has all scores of these names."""
    for name in signs(names):
        if name not in row:
            known = ", ".join(key for key in row if key != "step")
            raise ConfigError(
                f"no evaluation gives the {what} {name}", f"one of {known}", code="eval.no_such_score"
            )


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
