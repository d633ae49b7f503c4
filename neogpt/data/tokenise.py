"""A few parts of a source, tokenised into a folder of their own: the unit of work that a crash can lose.

    FOLDER/  train-00000.bin .idx ...  val-00000.bin .idx ...  part.json  MANIFEST.json

The documents stand in the source's order; the global shuffle comes afterwards, when all parts are there.
"""

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import numpy as np

from neogpt import atomic, plugins
from neogpt.config import SourceConfig
from neogpt.data.records import Document, Quarantine
from neogpt.data.shard_file import ShardSeries
from neogpt.data.shards import SPLITS
from neogpt.data.sources._files import part_file, part_groups
from neogpt.data.split import held_out
from neogpt.errors import DataError, NeoGPTError
from neogpt.tokenizer import Tokenizer

PART = "part.json"
_GROUP_BYTES = 2 << 20
_WORKER_BYTES = 8 << 20
_LOCK = "workers.lock"
_SHARD_TOKENS = 1 << 30
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class Task:
    """What one worker does: these parts of the source into that folder."""

    source_name: str
    source: SourceConfig
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
        size += _part_bytes(part)
        if size >= _GROUP_BYTES:
            found.append(tuple(held))
            held, size = [], 0
    return [*found, tuple(held)] if held else found


def _part_bytes(part: str) -> int:
    """The size of a whole file; what is generated or already cut out of a file is a task of its own."""
    path = part_file(part)
    return path.stat().st_size if path.is_file() and not part_groups(part) else _GROUP_BYTES


def run(tasks: list[Task], tokenizer: Tokenizer, workers: int, done: Callable[[Task], None]) -> None:
    """Do all tasks, in `workers` processes (0: as many as are worth starting), calling `done` after each."""
    workers = min(workers or _worth_starting(tasks), len(tasks))
    if workers <= 1:
        for task in tasks:
            tokenise(task, tokenizer)
            done(task)
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of a threaded process may hang
    arguments = (tokenizer, tasks[0].folder.parent / _LOCK)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=arguments) as pool:
        with _sigint_held_back():
            futures = {pool.submit(_work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BrokenProcessPool:
            raise NeoGPTError(
                "a worker process was killed", "enough memory for all workers", "fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Processes begun in this block take no Ctrl-C before `_begin`: it would only end in their tracebacks."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _worth_starting(tasks: list[Task]) -> int:
    """A process costs about a second to start, as much as tokenising a few megabytes."""
    size = sum(_part_bytes(part) for task in tasks for part in task.parts if part_file(part).is_file())
    return min(os.cpu_count() or 1, 1 + size // _WORKER_BYTES)


def wait_for_orphans(work: Path) -> None:
    """Wait until the workers of a killed preparation, which end within moments, no longer write there."""
    with atomic.lock(work / _LOCK, "the folder of parts", wait=True):
        pass


_worker_tokenizer: Tokenizer
_worker_lock: IO[str]


def _begin(tokenizer: Tokenizer, lock: Path) -> None:
    global _worker_tokenizer, _worker_lock
    _worker_tokenizer, _worker_lock = tokenizer, open(lock, "a")  # noqa: SIM115 (held for life)
    fcntl.flock(_worker_lock, fcntl.LOCK_SH)
    parent = multiprocessing.parent_process()
    if not parent or not parent.is_alive():  # it died before the lock could tell of us
        os._exit(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C reaches us too; the parent speaks for all
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: BaseProcess) -> None:
    """A killed parent would leave its workers waiting for ever."""
    parent.join()
    os._exit(1)


def _work(task: Task) -> None:
    tokenise(task, _worker_tokenizer)


def is_done(task: Task) -> bool:
    """True when an earlier run finished this task, and its files are whole."""
    try:
        atomic.verify_manifest(task.folder)
        return bool(json.loads((task.folder / PART).read_text())["parts"] == list(task.parts))
    except (DataError, OSError, ValueError, KeyError):
        return False


def tokenise(task: Task, tokenizer: Tokenizer) -> None:
    """Write the task's folder, whole or not at all."""
    bad = Quarantine()
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


def _documents(task: Task, bad: Quarantine) -> Iterator[Document]:
    module = plugins.get("neogpt.data.sources", task.source_name)
    for part in task.parts:
        yield from module.documents(task.source, part, bad)


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
