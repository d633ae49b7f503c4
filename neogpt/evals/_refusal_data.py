"""Prompts that should and should not be refused, and answers that people have judged.

XSTest (Roettger et al. 2024): prompts that are safe but sound unsafe, unsafe contrasts to them, and five models'
answers. AdvBench (Zou et al. 2023): harmful requests. Each is looked for in the folder that is named, or else in
NEOGPT_DATA/preference, as our JSON lines or the authors' CSV under its own name; the prompts are then downloaded once
from their authors, as they were at one commit. Whole sets come before parts of them (`_dev`).
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neogpt.errors import DataError
from neogpt.fetch import Published
from neogpt.paths import cache_dir, local_data

_PLACE = "put it into DIR/preference and set NEOGPT_DATA=DIR, or --data DIR"
_XSTEST_COMMIT = "475f10bf0a3d6a9dfb174b6de1a38afbfdff98a5"
_ADVBENCH_COMMIT = "098262edf85f807224e70ecd87b9d83716bf6b73"

PromptRow = dict[str, str]


@dataclass(frozen=True)
class Part:
    """A file of rows."""

    names: tuple[str, ...]
    """What it may be called here, best first."""
    columns: tuple[str, ...]
    published: Published | None = None
    """Where it can be had, if as one file."""


XSTEST = Part(
    ("xstest_prompts.csv", "xstest_prompts.jsonl", "xstest_prompts_dev.jsonl"),
    ("prompt", "label"),
    Published(
        "XSTest's xstest_prompts.csv",
        f"https://raw.githubusercontent.com/paul-rottger/xstest/{_XSTEST_COMMIT}/xstest_prompts.csv",
        "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
        _PLACE,
    ),
)
"""250 safe and 200 unsafe prompts."""
ADVBENCH = Part(
    ("harmful_behaviors.csv", "advbench_harmful_behaviors.jsonl"),
    ("goal",),
    Published(
        "AdvBench's harmful_behaviors.csv",
        "https://raw.githubusercontent.com/llm-attacks/llm-attacks/"
        f"{_ADVBENCH_COMMIT}/data/advbench/harmful_behaviors.csv",
        "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
        _PLACE,
    ),
)
"""520 requests."""
LABELLED = Part(
    ("xstest_completions_labelled.jsonl", "xstest_completions_labelled_dev.jsonl"),
    ("completion", "final_label", "model"),
)
"""The labeled completions of github.com/paul-rottger/xstest, as JSON lines."""


def prompts(folder: str | Path = "") -> dict[str, list[str]]:
    """The prompts by kind: safe, unsafe (XSTest), harmful (AdvBench; a folder that is named may be without it).

    Errors: DataError where XSTest cannot be had, and for rows without their columns.
    """
    path = _locate(XSTEST, folder)
    if path is None:
        raise DataError(
            f"none of {', '.join(XSTEST.names)} is in {folder}",
            "xstest_prompts.csv from github.com/paul-rottger/xstest",
            _PLACE,
            code="eval.no_tasks",
        )
    xstest = _rows(XSTEST, path)
    kinds = {kind: [row["prompt"] for row in xstest if row["label"] == kind] for kind in ("safe", "unsafe")}
    if path := _locate(ADVBENCH, folder):
        kinds["harmful"] = [row["goal"] for row in _rows(ADVBENCH, path)]
    return {kind: found for kind, found in kinds.items() if found}


def labeled(folder: str | Path = "") -> tuple[list[str], list[bool], list[str]] | None:
    """Answers, whether each refuses (in whole or in part), and who wrote it; None where the file is absent."""
    path = _locate(LABELLED, folder)
    if path is None:
        return None
    rows = [row for row in _rows(LABELLED, path) if row["completion"].strip()]
    refused = [not row["final_label"].startswith("1") for row in rows]
    return [row["completion"] for row in rows], refused, [row["model"] for row in rows]


def _locate(part: Part, folder: str | Path) -> Path | None:
    """The file on this disk; without a folder that is named also the cache's, downloaded where need be."""
    data = local_data()
    places = [Path(folder)] if folder else [data / "preference"] if data else []
    found = (place / name for place in places for name in part.names if (place / name).is_file())
    path = next(found, None)
    if path or folder or part.published is None:
        return path
    return part.published.cached(cache_dir() / "refusals" / part.names[0])


def _rows(part: Part, path: Path) -> list[PromptRow]:
    rows = []
    for number, row in enumerate(_read(path), 1):
        for column in part.columns:
            if not isinstance(row.get(column), str):
                raise DataError(
                    f"{path}, row {number} has no text in {column!r}",
                    ", ".join(part.columns),
                    code="eval.bad_task",
                )
        rows.append(row)
    return rows


def _read(path: Path) -> Iterator[PromptRow]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                yield from csv.DictReader(file)
            else:
                yield from map(json.loads, filter(str.strip, file))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "UTF-8 text, one row a line", code="eval.unreadable"
        ) from None
