"""A few parts of a source, tokenized into a folder of their own: the unit of work that a crash can lose.

    FOLDER/  train-00000.bin .idx ...  val-00000.bin .idx ...  part.json  MANIFEST.json

The documents stand in the source's order; the global shuffle comes afterwards, when all parts are there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neogpt import atomic
from neogpt.data.input_files import part_file, part_slice
from neogpt.data.shard_file import ShardSeries
from neogpt.data.shards import SPLITS
from neogpt.data.source import HasDocuments
from neogpt.data.split import held_out
from neogpt.errors import DataError
from neogpt.records import Document, RowStats
from neogpt.tokenizer import Tokenizer

PART = "part.json"
_GROUP_BYTES = 2 << 20
_SHARD_TOKENS = 1 << 30
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class Task:
    """What one worker does: these parts of the source into that folder."""

    source: HasDocuments
    val_fraction: float
    parts: tuple[str, ...]
    folder: Path


def groups(parts: list[str]) -> list[tuple[str, ...]]:
    """Neighbouring small files together, about 2 MiB each, so that a million small files are few tasks."""
    found: list[tuple[str, ...]] = []
    held: list[str] = []
    size = 0
    for part in parts:
        held.append(part)
        size += part_bytes(part)
        if size >= _GROUP_BYTES:
            found.append(tuple(held))
            held, size = [], 0
    return [*found, tuple(held)] if held else found


def part_bytes(part: str) -> int:
    """The size of a whole file; what is generated or already cut out of a file is a task of its own."""
    path = part_file(part)
    return path.stat().st_size if path.is_file() and not part_slice(part) else _GROUP_BYTES


def is_done(task: Task) -> bool:
    """True when an earlier run finished this task, and its files are whole."""
    try:
        atomic.verify_manifest(task.folder)
        return bool(json.loads((task.folder / PART).read_text("utf-8"))["parts"] == list(task.parts))
    except (DataError, OSError, ValueError, KeyError):
        return False


def tokenize(task: Task, tokenizer: Tokenizer) -> None:
    """Write the task's folder, whole or not at all."""
    bad = RowStats()
    with atomic.directory(task.folder, "data.part") as folder:
        splits = _write(folder, _documents(task, bad), task.val_fraction, tokenizer)
        atomic.write_json(folder / PART, {"parts": task.parts, "splits": splits, "quarantine": bad.to_dict()})


def _write(
    folder: Path, documents: Iterator[Document], val_fraction: float, tokenizer: Tokenizer
) -> dict[str, list[dict[str, Any]]]:
    """Each document as end-of-text and its tokens, in the shards of its split; returns the lists of shards."""
    facts: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "eot_id": tokenizer.eot_id}
    facts["fingerprint"] = tokenizer.fingerprint
    with (
        ShardSeries(folder, "train", _SHARD_TOKENS, facts) as train,
        ShardSeries(folder, "val", _SHARD_TOKENS, facts) as val,
    ):
        for texts in _batches(documents):
            for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
                series = val if held_out(text, val_fraction) else train
                series.add(np.array([tokenizer.eot_id, *ids], np.uint16))
    return dict(zip(SPLITS, (train.entries, val.entries), strict=True))


def _documents(task: Task, bad: RowStats) -> Iterator[Document]:
    for part in task.parts:
        yield from task.source.documents(part, bad)


def _batches(documents: Iterator[Document]) -> Iterator[list[str]]:
    """Texts in lists that are long enough to be encoded fast and short enough to hold in memory."""
    held: list[str] = []
    size = 0
    for document in documents:
        held.append(document.text)
        size += len(document.text)
        if size >= _BATCH_CHARACTERS or len(held) >= _BATCH_DOCUMENTS:
            yield held
            held, size = [], 0
    if held:
        yield held
