"""Processes that do tasks for this one and end with it.

Python's own pool may wait for ever when a process is killed while it begins. This one has no threads and no shared
queues: a connection to each process, which ends when the process does.
"""

import contextlib
import copy
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Self, TypeVar

_HAS_MASKS = hasattr(signal, "pthread_sigmask")


class WorkerDied(Exception):
    """A process ended in the middle of its work."""


T = TypeVar("T")


class Pool(Generic[T]):
    """`size` processes that each call `begin()` once, then `work(task)` for the tasks that were put in.

    All of these must pickle. Leaving the block lets the tasks at work end, and drops those that wait.
    """

    def __init__(self, size: int, begin: Callable[[], None], work: Callable[[T], None]) -> None:
        self._work = work
        self._tasks: deque[T] = deque()
        self._idle: list[Connection] = []
        self._busy: dict[Connection, T | None] = {}  # None: it begins
        context = multiprocessing.get_context("spawn")  # a forked copy of a threaded process may hang
        if _HAS_MASKS:
            resource_tracker.ensure_running()  # else the first process starts it, which would let Ctrl-C through
        self._processes = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            with _sigint_held_back():
                process.start()  # with little to read: Python writes it before it looks whether the process lives
            theirs.close()
            self._processes.append(process)
            self._busy[ours] = None
        for connection in self._busy:
            _send(connection, begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.close()
        for process in self._processes:
            if kind and issubclass(kind, WorkerDied):
                process.kill()
            process.join()

    def put(self, task: T) -> None:
        """Have a task done, after those put in before it."""
        self._tasks.append(task)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._tasks and self._idle:
            connection = self._idle.pop()
            self._busy[connection] = task = self._tasks.popleft()
            _send(connection, self._work, task)

    def _receive(self, connection: Connection) -> T | None:
        try:
            error = connection.recv()
        except (EOFError, OSError):
            raise WorkerDied from None
        task = self._busy.pop(connection)
        self._idle.append(connection)
        if error is not None:
            raise error
        self._hand_out()
        return task

    @staticmethod
    def done(*pools: "Pool[T]") -> Iterator[tuple["Pool[T]", T]]:
        """Wait until a process of any of the pools has news; give the tasks that are done.

        Raises what a task raised, and `WorkerDied` when a process ended in the middle.
        """
        owners = {connection: pool for pool in pools for connection in pool._busy}
        for connection in wait(owners):
            pool = owners[connection]  # type: ignore[index]
            if (task := pool._receive(connection)) is not None:  # type: ignore[arg-type]
                yield pool, task


def _send(connection: Connection, *call: Any) -> None:
    with contextlib.suppress(OSError):  # to a dead process: waiting for its answer says so
        connection.send(call)


@contextlib.contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Processes begun in this block take no Ctrl-C before they allow it: it would only end in their tracebacks.

    Windows has no such mask: there a Ctrl-C in a worker's first second shows these.
    """
    if not _HAS_MASKS:
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _serve(connection: Connection) -> None:
    """Do the calls that come; answer each with None, or with what it raised."""
    while True:
        try:
            function, *arguments = connection.recv()
        except (EOFError, OSError):  # the block was left
            return
        try:
            function(*arguments)
        except Exception as error:
            answer: Exception | None = _portable(error)
        else:
            answer = None
        try:
            connection.send(answer)
        except OSError:
            return


def _portable(error: Exception) -> Exception:
    """The error with where it arose, in a form that can cross to the other process."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)))
    try:
        copy.deepcopy(error)  # goes the way of sending it
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
