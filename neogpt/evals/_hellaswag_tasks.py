"""HellaSwag's validation tasks (Zellers et al. 2019): found on disk or downloaded once, and read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neogpt.errors import DataError
from neogpt.fetch import Published
from neogpt.paths import cache_dir, local_data

Style = Literal["build-nanogpt", "lm-eval"]
"""How the text is laid out and scored."""
N_TASKS = 10_042
NAME = "hellaswag_val.jsonl"
PUBLISHED = Published(
    f"HellaSwag's {NAME}",
    f"https://raw.githubusercontent.com/rowanz/hellaswag/master/data/{NAME}",
    "0aa3b88843990f3f10a97b9575c94d7b71fb2205240ba04ae4884d9e9c992588",
    f"put {NAME} into DIR/hellaswag and set NEOGPT_DATA=DIR",
)


@dataclass(frozen=True)
class Task:
    """The beginning of an everyday scene, and four endings of which one is true."""

    activity_label: str
    ctx: str
    """The whole beginning; `ctx_a` and, behind it, the begun sentence `ctx_b`."""
    ctx_a: str
    ctx_b: str
    endings: tuple[str, ...]
    label: int
    """Which ending is true, from 0."""


def locate(path: str | Path = "") -> Path:
    """The tasks' file: `path` where it is named, else in NEOGPT_DATA/hellaswag, the cache, or downloaded.

    Errors: DataError when it cannot be had.
    """
    if path:
        return Path(path)
    data = local_data()
    if data and (found := data / "hellaswag" / NAME).is_file():
        return found
    return PUBLISHED.cached(cache_dir() / "hellaswag" / NAME)


def read(path: str | Path = "", limit: int | None = None) -> list[Task]:
    """The first `limit` tasks (all by default) of the file that `locate` finds, in its order.

    The published file and copies of it are read alike, also copies whose rows have only the whole beginning
    (`ctx`): it stands for `ctx_a` then, as it does in every WikiHow task. Errors: DataError names the line, or
    says that a file which nobody named has not all tasks.
    """
    file = locate(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read: {error}", f"HellaSwag's {NAME}", code="eval.unreadable"
        ) from None
    if not path and len(lines) != N_TASKS:
        raise DataError(
            f"{file} has {len(lines):,} lines",
            f"the {N_TASKS:,} tasks of HellaSwag's {NAME}",
            code="eval.wrong_number_of_tasks",
        )
    tasks = [_task(line, f"{file}, line {i + 1}") for i, line in enumerate(lines[: limit or None])]
    if not tasks:
        raise DataError(f"{file} has no tasks", f"HellaSwag's {NAME}", code="eval.no_tasks")
    return tasks


def _task(line: str, place: str) -> Task:
    try:
        row = json.loads(line)
        ctx = _text(row, "ctx")
        has_parts = "ctx_a" in row and "ctx_b" in row
        parts = (_text(row, "ctx_a"), _text(row, "ctx_b")) if has_parts else (ctx, "")
        endings, label = tuple(row["endings"]), int(row["label"])
        is_good = isinstance(row["endings"], list) and len(endings) > 1 and 0 <= label < len(endings)
        is_good = is_good and all(isinstance(ending, str) for ending in endings)
        task = Task(_text(row, "activity_label"), ctx, *parts, endings, label)
    except (ValueError, KeyError, TypeError):
        is_good = False
    if not is_good:
        raise DataError(
            f"{place} is no task of HellaSwag",
            "JSON with ctx, activity_label, endings and a label that fits",
            code="eval.bad_task",
        )
    return task


def _text(row: Any, name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def as_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The tasks as rows of the data set on the Hugging Face Hub, for other programs."""
    return [
        {**vars(task), "ind": i, "endings": list(task.endings), "label": str(task.label)}
        for i, task in enumerate(tasks)
    ]
