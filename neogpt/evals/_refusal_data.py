"""Prompts that should and should not be refused, and answers that people have judged; all from local files.

XSTest (Roettger et al. 2024): prompts that are safe but sound unsafe, unsafe contrasts to them, and five models'
answers. AdvBench (Zou et al. 2023): harmful requests. Read from NEOGPT_DATA/preference: our JSON lines or the
authors' CSV files under their own names.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from neogpt.errors import DataError
from neogpt.paths import local_data

XSTEST = ("xstest_prompts_dev.jsonl", "xstest_prompts.jsonl", "xstest_prompts.csv")
ADVBENCH = ("advbench_harmful_behaviors.jsonl", "harmful_behaviors.csv")
LABELLED = ("xstest_completions_labelled_dev.jsonl", "xstest_completions_labelled.jsonl")
_HOMES = {
    XSTEST: "xstest_prompts.csv from github.com/paul-rottger/xstest",
    ADVBENCH: "data/advbench/harmful_behaviors.csv from github.com/llm-attacks/llm-attacks",
    LABELLED: "the labelled completions from github.com/paul-rottger/xstest as JSON lines",
}

Row = dict[str, str]


def prompts(folder: str | Path = "") -> dict[str, list[str]]:
    """The prompts by kind: safe, unsafe (XSTest), harmful (AdvBench; absent where its file is).

    Errors: DataError without XSTest, and for rows without their columns.
    """
    xstest = _rows(XSTEST, folder)
    kinds = {kind: [row["prompt"] for row in xstest if row["label"] == kind] for kind in ("safe", "unsafe")}
    if _find(ADVBENCH, folder):
        kinds["harmful"] = [row["goal"] for row in _rows(ADVBENCH, folder)]
    return kinds


def labelled(folder: str | Path = "") -> tuple[list[str], list[bool], list[str]] | None:
    """Answers, whether each refuses (in whole or in part), and who wrote it; None where the file is absent."""
    if not _find(LABELLED, folder):
        return None
    rows = [row for row in _rows(LABELLED, folder) if row["completion"].strip()]
    refused = [not row["final_label"].startswith("1") for row in rows]
    return [row["completion"] for row in rows], refused, [row["model"] for row in rows]


def _find(names: tuple[str, ...], folder: str | Path) -> Path | None:
    data = local_data()
    places = [Path(folder)] if folder else [data / "preference"] if data else []
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _rows(names: tuple[str, ...], folder: str | Path) -> list[Row]:
    path = _find(names, folder)
    if path is None:
        raise DataError(
            f"none of {', '.join(names)} is in {folder or 'NEOGPT_DATA/preference'}",
            _HOMES[names],
            "put it into DIR/preference and set NEOGPT_DATA=DIR, or --data DIR",
        )
    needed = {
        XSTEST: ("prompt", "label"),
        ADVBENCH: ("goal",),
        LABELLED: ("completion", "final_label", "model"),
    }
    rows = []
    for number, row in enumerate(_read(path), 1):
        for column in needed[names]:
            if not isinstance(row.get(column), str):
                raise DataError(f"{path}, row {number} has no text in {column!r}", ", ".join(needed[names]))
        rows.append(row)
    return rows


def _read(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                yield from csv.DictReader(file)
            else:
                yield from map(json.loads, filter(str.strip, file))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "UTF-8 text, one row a line") from None
