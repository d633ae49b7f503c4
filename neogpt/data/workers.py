"""The processes that tokenize, and those that fetch what they will need next."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from neogpt import atomic, hardware
from neogpt.data import tokenize
from neogpt.data._pool import Pool, WorkerDied
from neogpt.data.input_files import part_file
from neogpt.data.source import Remote
from neogpt.data.tokenize import Task
from neogpt.errors import NeoGPTError
from neogpt.tokenizer import Tokenizer

_WORKER_BYTES = 8 << 20
_FETCHERS = 2
_LOCK = "worker-{}.lock"
"""A file of each process that writes into the folder of parts, locked while it does."""


class Run(Protocol):
    """What does tasks: `run` here, `cluster.Cluster.run` elsewhere."""

    def __call__(
        self,
        tasks: list[Task],
        tokenizer: Tokenizer,
        n_workers: int,
        done: Callable[[Task], None],
        release: Callable[[str], None],
    ) -> None: ...


def run(
    tasks: list[Task],
    tokenizer: Tokenizer,
    n_workers: int,
    done: Callable[[Task], None],
    release: Callable[[str], None] = lambda _: None,
) -> None:
    """Do all tasks, in `n_workers` processes (0: as many as are worth starting), calling `done` after each.

    A source that fetches its files does so in further processes, ahead of the workers, but only so far ahead that
    these do not wait: few files lie on disk at once if `release`, called with each file that is done with,
    deletes them.
    """
    fetches = bool(tasks) and isinstance(tasks[0].source, Remote)
    n_workers = min(n_workers or _worth_starting(tasks), len(tasks))
    if n_workers <= 1 and not fetches:
        for task in tasks:
            tokenize.tokenize(task, tokenizer)
            done(task)
        return
    begin = partial(_begin, tokenizer, tasks[0].folder.parent)
    try:
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(Pool(n_workers, begin, _work))
            fetchers = stack.enter_context(Pool(_FETCHERS, begin, fetch)) if fetches else None
            _drive(tasks, 2 * n_workers, pool, fetchers, done, release)
    except WorkerDied:
        raise NeoGPTError(
            "a worker process was killed",
            "enough memory for all workers",
            "fewer --workers",
            code="data.worker_killed",
        ) from None


def _drive(
    tasks: list[Task],
    enough: int,
    pool: Pool[Task],
    fetchers: Pool[Task] | None,
    done: Callable[[Task], None],
    release: Callable[[str], None],
) -> None:
    """Fetch the files in order while fewer than two, or fewer than `enough` tasks, are being fetched or read."""
    waiting = deque((files, list(its)) for files, its in itertools.groupby(tasks, files_of))
    left: dict[tuple[str, ...], list[Task]] = {}
    while waiting or left:
        while waiting and (not fetchers or len(left) < 2 or sum(map(len, left.values())) < enough):
            files, its = waiting.popleft()
            left[files] = its
            for task in its[:1] if fetchers else its:
                (fetchers or pool).put(task)
        for by, task in Pool.done(*filter(None, (pool, fetchers))):
            files = files_of(task)
            if by is fetchers:
                for each in left[files]:
                    pool.put(each)
                continue
            done(task)
            left[files].remove(task)
            if not left[files]:
                del left[files]
                for file in files:
                    release(file)


def files_of(task: Task) -> tuple[str, ...]:
    """The files that a task reads."""
    return tuple(dict.fromkeys(str(part_file(part)) for part in task.parts))


def _worth_starting(tasks: list[Task]) -> int:
    """A process costs about a second to start, as much as tokenizing a few megabytes."""
    cores = max(1, int(hardware.cores()))  # of a container or a job, not of the whole machine
    files = [part for task in tasks for part in task.parts if part_file(part).is_file()]
    if not files and isinstance(tasks[0].source, Remote):
        return cores
    return min(cores, 1 + sum(map(tokenize.part_bytes, files)) // _WORKER_BYTES)


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Say, for as long as the block lasts, that this process writes into the folder of parts.

    Errors: FileNotFoundError where there is no such folder (any more).
    """
    path = folder / _LOCK.format(uuid.uuid4().hex)
    path.touch()
    with atomic.lock(path, "a worker's own file"):
        yield
    path.unlink(missing_ok=True)


def wait_for_orphans(work: Path) -> None:
    """Wait until the workers of a killed preparation, which end within moments, no longer write there."""
    for path in work.glob(_LOCK.format("*")):
        with atomic.lock(path, "the folder of parts", wait=True):
            pass
        path.unlink(missing_ok=True)


_worker_tokenizer: Tokenizer
_worker_lock = contextlib.ExitStack()
"""Held for life."""


def _begin(tokenizer: Tokenizer, folder: Path) -> None:
    global _worker_tokenizer
    _worker_tokenizer = tokenizer
    _worker_lock.enter_context(at_work(folder))
    parent = multiprocessing.parent_process()
    if not parent or not parent.is_alive():  # it died before the lock could tell of us
        os._exit(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C reaches us too; the parent speaks for all
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: BaseProcess) -> None:
    """A killed parent would leave its workers waiting for ever."""
    parent.join()
    os._exit(1)


def _work(task: Task) -> None:
    tokenize.tokenize(task, _worker_tokenizer)


def fetch(task: Task) -> None:
    """Have the files of a task here, if its source fetches files."""
    if isinstance(task.source, Remote):
        for file in files_of(task):
            task.source.fetch(file)
