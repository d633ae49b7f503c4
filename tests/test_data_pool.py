"""The pool of processes: every task once, errors with their place, and no waiting for the dead."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from neogpt.data._pool import Pool, WorkerDied


class OfTwo(Exception):
    """Pickles, but does not come back: Python calls it with one argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def begin(payload: bytes = b"") -> None:
    pass


def note(folder: Path, name: str) -> None:
    with open(folder / name, "x") as file:
        file.write(str(os.getpid()))
    time.sleep(0.05)


def note_together(folder: Path, name: str) -> None:
    """As `note`, but no process ends its first task before another one has begun one."""
    note(folder, name)
    while len({path.read_text() for path in folder.iterdir()} - {""}) < 2:
        time.sleep(0.002)


def fail(kind: str) -> None:
    if kind == "two":
        raise OfTwo("left", "right")
    raise KeyError(kind)


def die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def drain(pool: Pool[str], n: int, first: Iterable[str] = ()) -> list[str]:
    """Put in the first tasks, then wait until `n` are done."""
    for task in first:
        pool.put(task)
    done: list[str] = []
    while len(done) < n:
        done += [task for _, task in Pool.done(pool)]
    return done


def test_each_task_is_done_once_by_one_of_the_processes(tmp_path: Path) -> None:
    names = [str(i) for i in range(8)]
    with Pool(2, begin, partial(note_together, tmp_path)) as pool:
        assert sorted(drain(pool, 8, names)) == names
    makers = {(tmp_path / name).read_text() for name in names}
    assert len(makers) == 2
    assert str(os.getpid()) not in makers


def test_leaving_the_block_ends_the_tasks_at_work_and_drops_the_rest(tmp_path: Path) -> None:
    with Pool(1, begin, partial(note, tmp_path)) as pool:
        drain(pool, 1, "abc")
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "b"}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("task", "kind"), [("one", KeyError), ("two", RuntimeError)])
def test_an_error_says_where_in_the_process_it_arose(task: str, kind: type[Exception]) -> None:
    with Pool(1, begin, fail) as pool:
        pool.put(task)
        with pytest.raises(kind) as caught:
            drain(pool, 1)
    said = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "in fail" in said
    assert task in said or "left right" in said


def test_a_process_that_dies_at_work_is_not_waited_for() -> None:
    with pytest.raises(WorkerDied), Pool(2, begin, die) as pool:
        drain(pool, 1, ["now"])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.5])
def test_a_process_killed_while_it_begins_is_not_waited_for(tmp_path: Path, delay: float) -> None:
    """Python's own pool waits for ever: it has the whole of `payload` to write before it looks."""
    over = threading.Event()

    def killer() -> None:
        while not (children := multiprocessing.active_children()) and not over.is_set():
            time.sleep(0.001)
        time.sleep(delay)
        for child in children[:1]:
            child.kill()

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        with (
            pytest.raises(WorkerDied),
            Pool(2, partial(begin, bytes(8 << 20)), partial(note, tmp_path)) as pool,
        ):
            drain(pool, 200, map(str, range(200)))
    finally:
        over.set()
        thread.join()
    assert not multiprocessing.active_children()


def test_no_process_takes_ctrl_c_before_it_allows_it(tmp_path: Path) -> None:
    """Not even the first, which Python would begin together with a helper that lets signals through."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from neogpt.data._pool import Pool\n"
        "def report():\n"
        "    os.write(1, f'{signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())}\\n'.encode())\n"
        "if __name__ == '__main__':\n"
        "    with Pool(2, report, report):\n"
        "        pass\n"
        "    report()\n"
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=150)
    assert sorted(said.stdout.split()) == ["False", "True", "True"]
