"""Trackers: they show the ledger, each step once after any resume, and nothing that happens to them stops a run."""

import json
import struct
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from test_resume_here import Killed, at_step
from training import events, probe, tiny, until

from neogpt import ledger
from neogpt.cli._train import trackers_of
from neogpt.errors import ConfigError
from neogpt.paths import RunDir
from neogpt.train.run import train
from neogpt.train.trackers import base
from neogpt.train.trackers.base import BackgroundTracker

Shown = dict[int, dict[str, float]]
"""What a tracker shows: step -> numbers."""


def run(folder: Path, trackers: list[Any], *more: Any, resume: str = "auto") -> None:
    """A tiny run with these trackers, closed as the command line closes them."""
    try:
        train(tiny("pretrain"), folder, resume, probe, [*trackers, *more])
    finally:
        for tracker in trackers:
            tracker.close()


def expected(folder: Path) -> Shown:
    """The numbers of the ledger by step."""
    found: Shown = {}
    for row in ledger.read(RunDir(folder).metrics):
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        found.setdefault(row["step"], {}).update(numbers)
    return {step: {k: v for k, v in numbers.items() if k != "step"} for step, numbers in found.items()}


def same(shown: Shown, ledger_says: Shown) -> None:
    assert list(shown) == sorted(ledger_says)
    for step, numbers in ledger_says.items():
        assert shown[step] == pytest.approx({**shown[step], **numbers}, rel=1e-6), step
        assert set(shown[step]) - set(numbers) <= {"step_s", "tokens_per_s", "disk_free_bytes"}


class Book(BackgroundTracker):
    """A tracker that keeps a book on disk, as a service would; it may be told to fail."""

    name = "book"

    def __init__(self, files: RunDir, fails: str = "") -> None:
        super().__init__(files)
        self.fails = fails
        self.path = files.root / "book.jsonl"

    def open(self) -> None:
        self._maybe("open")

    def write(self, step: int, values: dict[str, float]) -> None:
        self._maybe("write")
        ledger.append(self.path, {"at": step, **values})

    def finish(self) -> None:
        self._maybe("finish")

    def _maybe(self, place: str) -> None:
        if self.fails == place:
            raise SystemExit("gone") if place == "write" else OSError(28, "No space left on device")

    def shown(self) -> list[dict[str, Any]]:
        return ledger.read(self.path)


def test_each_step_once_after_kills_and_resumes(tmp_path: Path) -> None:
    """Cut off without a last word twice, and joined late: every step stands there once, with the ledger's numbers."""
    for step in (5, 9):
        book = Book(RunDir(tmp_path))
        with pytest.raises(Killed):
            train(tiny("pretrain"), tmp_path, "auto", probe, [book, at_step(step)])
        book._do(None)
        assert book._thread
        book._thread.join()
    late = Book(RunDir(tmp_path))
    late.name, late.path = "late", tmp_path / "late.jsonl"
    book = Book(RunDir(tmp_path))
    run(tmp_path, [book, late])
    for tracker in (book, late):
        rows = tracker.shown()
        assert [row["at"] for row in rows] == list(range(13))
        same({row.pop("at"): row for row in rows}, expected(tmp_path))


@pytest.mark.parametrize("place", ["open", "write", "finish"])
def test_a_failure_anywhere_warns_once_and_the_run_ends_well(place: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="book is left out from here on: (OSError|SystemExit)") as said:
        run(tmp_path, [Book(RunDir(tmp_path), fails=place)])
    assert len(said) == 1
    assert events(tmp_path, "end")
    assert max(expected(tmp_path)) == 12


def test_a_tracker_that_hangs_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes one row and never returns: the run goes to its end, waits a moment for it, and says so."""
    free = threading.Event()
    monkeypatch.setattr(base, "_MOST_WAITING", 5)
    monkeypatch.setattr(base, "_LAST_WORD_S", 0.05)

    class Hung(Book):
        def write(self, step: int, values: dict[str, float]) -> None:
            free.wait()

    with pytest.warns(UserWarning, match="book is left out from here on: it takes no rows any more") as said:
        run(tmp_path, [Hung(RunDir(tmp_path))])
    free.set()
    assert len(said) == 1
    assert events(tmp_path, "end")
    free.clear()
    monkeypatch.setattr(base, "_MOST_WAITING", 99)
    hung = Hung(RunDir(tmp_path))
    for step in (1, 2):
        hung.row({"step": step, "loss": 1.0})
    with pytest.warns(UserWarning, match="it did not end within"):
        hung.close()
    free.set()


def test_an_extra_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    (tracker,) = trackers_of(tiny("pretrain", "--trackers", "wandb"), tmp_path)
    with pytest.warns(UserWarning, match=r"wandb is left out .* pip install 'neogpt\[wandb\]'"):
        run(tmp_path, [tracker])
    assert events(tmp_path, "end")


def test_trackers_are_chosen_by_name_and_may_change_on_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no tracker named 'wand'.*(?s:.)*wandb"):
        trackers_of(tiny("pretrain", "--trackers", "wand"), tmp_path)
    with pytest.raises(
        ConfigError, match=r"some of tensorboard, trackio, wandb, or none alone(?s:.)*--trackers none"
    ):
        trackers_of(tiny("pretrain", "--trackers", "mlflow"), tmp_path)
    with pytest.raises(ConfigError, match="or none alone"):
        trackers_of(tiny("pretrain", "--trackers", "none", "wandb"), tmp_path)
    assert trackers_of(tiny("pretrain", "--trackers"), tmp_path) == []
    assert trackers_of(tiny("pretrain", "--trackers", "none"), tmp_path) == []
    with pytest.raises(Killed):
        train(tiny("pretrain", "--trackers"), tmp_path, "", probe, [at_step(5)])
    train(tiny("pretrain"), tmp_path, "auto", probe)


def killed_and_resumed(folder: Path, *flags: str) -> None:
    """A run that its one tracker follows: killed at step 7, and then led to its end."""
    for step in (7, 99):
        (tracker,) = trackers_of(tiny("pretrain", *flags), folder)
        if step == 7:
            with pytest.raises(Killed):
                run(folder, [tracker], at_step(step))
        else:
            run(folder, [tracker])


def test_tensorboard_shows_the_ledger_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_and_resumed(tmp_path)
    found = EventAccumulator(str(RunDir(tmp_path).tensorboard), size_guidance={"scalars": 0}).Reload()
    shown: Shown = {}
    for tag in found.Tags()["scalars"]:
        for scalar in found.Scalars(tag):
            assert tag not in shown.setdefault(scalar.step, {})
            shown[scalar.step][tag] = scalar.value
    same(dict(sorted(shown.items())), expected(tmp_path))


def test_wandb_offline_shows_the_ledger_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real, without a network: one id over a resume, one history row a step, read back from its own files."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "my-run"
    monkeypatch.setattr(base, "_LAST_WORD_S", 200.0)
    killed_and_resumed(folder, "--trackers", "wandb")
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2
    until(lambda: all(any(r.HasField("exit") for r in wandb_records(path)) for path in files))
    records = [record for path in files for record in wandb_records(path)]
    runs = [record.run for record in records if record.HasField("run")]
    assert len({r.run_id for r in runs}) == 1
    assert {(r.project, r.display_name) for r in runs} == {("neogpt", "my-run")}
    settings = {item.key: item.value_json for item in runs[0].config.update}
    assert settings["optim.lr"] == "0.003"
    shown: Shown = {}
    for record in records:
        if record.HasField("history"):
            row = {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.history.item}
            step = int(row["_step"])
            assert step not in shown
            shown[step] = {key: value for key, value in row.items() if not key.startswith("_")}
    same(shown, expected(folder))


def wandb_records(path: Path) -> list[Any]:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB) holding wandb's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, found, part = path.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        part += content[at + 7 : at + 7 + size]
        at += 7 + size
        if at > len(content):
            break
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


class TrackioStub(ModuleType):
    """The part of trackio that we call, with its own names of arguments: what was logged, by run."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.begun: list[dict[str, Any]] = []
        self.finished: list[str] = []

    def init(
        self,
        project: str,
        *,
        name: str,
        config: dict[str, Any],
        resume: str,
        embed: bool,
        auto_log_cpu: bool,
        auto_log_gpu: bool,
    ) -> SimpleNamespace:
        assert (resume, embed, auto_log_cpu, auto_log_gpu) == ("allow", False, False, False)
        self.begun.append({"project": project, "name": name, "config": config})
        rows = self.runs.setdefault(name, [])
        return SimpleNamespace(
            log=lambda metrics, *, step: rows.append({"at": step, **metrics}),
            finish=lambda: self.finished.append(name),
        )


def test_trackio_is_called_with_the_ledger_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in, since the real one is seldom installed: one run over a resume, each step once, ended each time."""
    stub = TrackioStub()
    monkeypatch.setitem(sys.modules, "trackio", stub)
    monkeypatch.setenv("TRACKIO_PROJECT", "mine")
    folder = tmp_path / "my-run"
    killed_and_resumed(folder, "--trackers", "trackio")
    ((name, rows),) = stub.runs.items()
    assert name.startswith("my-run-")
    assert [row["at"] for row in rows] == list(range(13))
    same({row.pop("at"): row for row in rows}, expected(folder))
    assert [begun["project"] for begun in stub.begun] == ["mine"] * 2
    assert stub.begun[0]["config"]["optim.lr"] == 0.003
    assert stub.finished == [name] * 2


def test_a_trackio_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new version may know other arguments: the run goes on without it, and says why."""
    stub = ModuleType("trackio")
    stub.init = lambda project: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", stub)
    (tracker,) = trackers_of(tiny("pretrain", "--trackers", "trackio"), tmp_path)
    with pytest.warns(UserWarning, match="trackio is left out from here on: TypeError"):
        run(tmp_path, [tracker])
    assert events(tmp_path, "end")


def test_trackio_shows_the_ledger_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real, into a database of its own, read back by its own reader."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(
        "trackio", reason="trackio is not installed (it wants an older Pillow than we test with)"
    )
    from trackio.sqlite_storage import SQLiteStorage

    folder = tmp_path / "my-run"
    monkeypatch.setattr(base, "_LAST_WORD_S", 200.0)
    killed_and_resumed(folder, "--trackers", "trackio")
    (name,) = SQLiteStorage.get_runs("neogpt")
    assert name.startswith("my-run-")
    rows = SQLiteStorage.get_logs("neogpt", name)
    assert [row["step"] for row in rows] == list(range(13))
    shown = {row["step"]: {k: v for k, v in row.items() if k not in ("step", "timestamp")} for row in rows}
    same(shown, expected(folder))
