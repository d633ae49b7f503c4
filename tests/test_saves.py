"""Saves in the background: what is written while training goes on, when it counts, and where its errors go."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume_here import Killed, at_step, killed
from training import Launcher, different, events, leftovers, outcome, probe, saved, tiny

from neogpt import atomic, ledger
from neogpt.errors import CheckpointError, DivergedError, PreemptedError
from neogpt.paths import RunDir
from neogpt.train import saver
from neogpt.train.run import train

Row = dict[str, Any]
KEEP = ("--save.keep-last", "99", "--save.keep-best", "False")


class Gate:
    """Holds the writer at one instant of each save until a later row is in the ledger (at the end: never)."""

    def __init__(self, place: str, rows_ahead: int, last: int) -> None:
        self.place, self.rows_ahead, self.last = place, rows_ahead, last
        self.step, self.copied = 0, 0
        self.trace: list[tuple[str, int]] = []
        self.changed = threading.Condition()

    def failpoint(self, name: str) -> None:
        """Called by the writer (and for `copied` by the loop)."""
        with self.changed:
            self.trace.append((name.removeprefix("checkpoint."), self.step))
            if name.endswith("copied"):
                self.copied = self.step
            if name.endswith(self.place):
                wanted = min(self.copied + self.rows_ahead, self.last)
                assert self.changed.wait_for(lambda: self.step >= wanted, timeout=150)

    def row(self, row: Row) -> None:
        """Called by the loop."""
        with self.changed:
            self.step = row["step"]
            self.changed.notify_all()

    def event(self, event: Row) -> None:
        """Called by the loop."""
        if event["event"] in ("save", "end", "preempted"):
            with self.changed:
                self.trace.append((event["event"], event["step"]))


def checkpoints(folder: Path) -> dict[str, bytes]:
    """Every file of every checkpoint, but what the settings say about saving itself."""
    paths = [p for p in sorted(RunDir(folder).checkpoints.rglob("*")) if p.is_file()]
    named = {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name != "MANIFEST.json"}
    return {
        name: content.replace(b'"background": true', b'"background": false')
        for name, content in named.items()
    }


def test_what_is_written_is_the_step_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer only begins when the next step's update is done: all checkpoints are those of waiting saves."""
    train(tiny("pretrain", *KEEP, "--save.background", "False"), tmp_path / "waiting", "", probe)
    gate = Gate("late", 1, 12)
    write = saver.Saver._write

    def late_write(*args: Any) -> Any:
        gate.failpoint("late")
        return write(*args)

    monkeypatch.setattr(saver.Saver, "_write", late_write)
    monkeypatch.setattr(atomic, "failpoint", gate.failpoint)
    train(tiny("pretrain", *KEEP), tmp_path / "run", "", probe, [gate])
    assert saved(tmp_path / "run") == [2, 4, 6, 8, 10, 12]
    assert different(checkpoints(tmp_path / "run"), checkpoints(tmp_path / "waiting")) == []
    ledgers = [RunDir(tmp_path / name).metrics.read_bytes() for name in ("run", "waiting")]
    assert ledgers[0] == ledgers[1]
    assert leftovers(tmp_path / "run") == []


def test_one_save_at_a_time_and_told_when_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk: the next save waits for the one before, and `save` is told after the rename, before `end`."""
    gate = Gate("filled", 2, 12)
    monkeypatch.setattr(atomic, "failpoint", gate.failpoint)
    train(tiny("pretrain"), tmp_path, "", probe, [gate])
    seen = [(name, step) for name, step in gate.trace if name in ("copied", "renamed", "save", "end")]
    names = [name for name, _ in seen]
    assert names == ["copied", "renamed", "save"] * 6 + ["end"]
    assert [step for name, step in seen if name == "save"] == [2, 4, 6, 8, 10, 12]
    assert seen[1] == ("renamed", 4)  # the step that the loop had reached


class Disk:
    """Refuses the `hit`-th save; saves are done at once, so that what follows does not depend on time."""

    def __init__(self, hit: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hit = hit
        monkeypatch.setattr(atomic, "failpoint", self.failpoint)
        monkeypatch.setattr(saver, "ThreadPoolExecutor", lambda *_: self)

    def failpoint(self, name: str) -> None:
        self.hit -= name == "checkpoint.optimizer"
        if not self.hit and name == "checkpoint.optimizer":
            raise OSError(28, "No space left on device")

    def submit(self, write: Callable[..., Any], *args: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(write(*args))
        except BaseException as error:
            done.set_exception(error)
        return done

    def shutdown(self) -> None: ...


@pytest.mark.parametrize(("hit", "step"), [(2, 5), (6, 12)])
def test_a_refused_write_reaches_the_loop_at_the_next_step(
    hit: int, step: int, bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error of a save that waits; at the last step before the run is said to be done."""
    Disk(hit, monkeypatch)
    with pytest.raises(CheckpointError, match=r"(?s)No space left.*about 0.7 MB.*--resume auto"):
        train(tiny("pretrain"), tmp_path, "", probe)
    assert ledger.read(RunDir(tmp_path).metrics)[-1]["step"] == step
    assert [row["step"] for row in events(tmp_path, "save")] == [*range(2, 2 * hit, 2)]
    assert events(tmp_path, "end") == []
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    train(tiny("pretrain"), tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []


def test_a_run_that_ends_by_an_error_finishes_its_save_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed by an error one step after a save whose writer is slow: the checkpoint is there."""
    gate = Gate("optimizer", 1, 12)
    monkeypatch.setattr(atomic, "failpoint", gate.failpoint)
    with pytest.raises(Killed):
        train(tiny("pretrain"), tmp_path, "", probe, [gate, at_step(3)])
    assert saved(tmp_path) == [2]
    assert [row["step"] for row in events(tmp_path, "save")] == [2]


def test_a_refused_write_does_not_hide_why_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss diverges at the step after the save that the disk refuses: code 5, and a warning about the disk."""
    from neogpt.train.monitors.step_guard import StepGuard

    def diverged(self: StepGuard, is_last: bool = False) -> bool:
        if self._step == 3:
            raise DivergedError("the loss is not finite")
        return False

    Disk(1, monkeypatch)
    monkeypatch.setattr(StepGuard, "verdict", diverged)
    with pytest.raises(DivergedError):
        train(tiny("pretrain"), tmp_path, "", probe)
    (warning,) = events(tmp_path, "warning")
    assert "No space left" in warning["message"]


def test_a_signal_waits_for_the_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two saves may be due: the one under way, and the one of the step at which the signal came."""
    gate = Gate("filled", 1, 3)
    monkeypatch.setattr(atomic, "failpoint", gate.failpoint)

    class Signal:
        def row(self, row: Row) -> None:
            if row["step"] == 2 and "grad_norm" in row:
                signal.raise_signal(signal.SIGTERM)

        def event(self, event: Row) -> None: ...

    with pytest.raises(PreemptedError, match="at step 3 of 12; everything is saved"):
        train(tiny("pretrain"), tmp_path, "", probe, [gate, Signal()])
    assert saved(tmp_path) == [2, 3]
    assert [event for event in gate.trace if event[0] in ("save", "preempted")] == [
        ("save", 2),
        ("save", 3),
        ("preempted", 3),
    ]


@pytest.mark.parametrize("place", ["model", "before_rename", "renamed"])
def test_killed_while_the_loop_is_ahead_of_the_writer(
    place: str, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """SIGKILL one step after the copy was taken: rows without a checkpoint are cut back, and the end has equal bits."""
    metrics = str(RunDir(tmp_path).metrics)
    options = {"place": f"checkpoint.{place}", "hit": 2, "rows": 7, "metrics": metrics}
    group = launcher.train(1, "pretrain", tmp_path, patch="killed_behind", options=options)
    assert group.wait() == [-9], group.text()
    assert max(row["step"] for row in ledger.read(RunDir(tmp_path).metrics)) >= 5
    assert saved(tmp_path) == ([2, 4] if place == "renamed" else [2])
    group = launcher.train(2, "pretrain", tmp_path, resume="auto")
    assert group.wait() == [0, 0], group.text()
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []
    assert leftovers(tmp_path) == []


def test_how_saves_are_made_may_change_on_resume(bases: dict[str, Path], tmp_path: Path) -> None:
    killed(tiny("pretrain", "--save.background", "False"), tmp_path, at_step(7))
    train(tiny("pretrain"), tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []


def test_files_have_the_rights_that_the_umask_gives(launcher: Launcher, bases: dict[str, Path]) -> None:
    """safetensors makes its files private; a thread may not touch the process's umask."""
    folder = RunDir(bases["pretrain"]).checkpoint(12)
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_copy_from_a_gpu_is_taken_before_the_update() -> None:
    """Updates that are queued at once wait for the copy; the memory is used again."""
    tensors = {str(i): torch.full((1 << 22,), float(i), device="cuda") for i in range(8)}
    mirror = saver.HostStaging()
    for _ in range(3):
        expected = {name: tensor.cpu() for name, tensor in tensors.items()}
        copies, wait = mirror.take(tensors)
        mirror.before_update()
        for tensor in tensors.values():
            tensor.add_(1)
        wait()
        assert all(torch.equal(copies[name], expected[name]) for name in tensors)
        assert all(copy.is_pinned() for copy in copies.values())


def test_the_copy_is_not_the_run(tmp_path: Path) -> None:
    """On a CPU it is made at once, in memory that the next copy uses again; other shapes get their own."""
    mirror = saver.HostStaging()
    tensors = {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.tensor(3)}
    first, wait = mirror.take(tensors)
    wait()
    tensors["a"].zero_()
    assert first["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    second, _ = mirror.take(tensors)
    assert second["a"].data_ptr() == first["a"].data_ptr()
    third, _ = mirror.take({"a": torch.ones(4)})
    assert third["a"].tolist() == [1, 1, 1, 1]
