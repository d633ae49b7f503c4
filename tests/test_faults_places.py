"""Where a fault can strike beside a step: inside an evaluation, a save, a row of a ledger, the run's folder."""

from pathlib import Path
from typing import Any

import pytest
from training import Launcher, different, events, leftovers, outcome, probe, saved, tiny

from neogpt import atomic, ledger
from neogpt.errors import CheckpointError
from neogpt.train.run import train


@pytest.mark.parametrize(
    ("rank", "place", "hit"),
    [
        (0, "validate", 3),
        (1, "validate", 3),
        (0, "_write", 3),
        (1, "_save", 3),
        (0, "samples", 2),
    ],
)
def test_a_process_that_dies_beside_a_step_ends_the_other(
    rank: int, place: str, hit: int, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """In an evaluation, in the writer, before a save's barrier: a message, whole checkpoints, and equal bits after."""
    options = {"rank": rank, "place": place, "hit": hit}
    group = launcher.train(2, "pretrain", tmp_path, patch="dies_in", options=options)
    codes = group.wait()
    assert (codes[rank], codes[1 - rank]) == (-9, 1), group.text()
    assert "another one has ended" in group.text(1 - rank)
    assert "Traceback" not in group.text(1 - rank)
    assert len(saved(tmp_path)) == len(
        [p for p in (tmp_path / "checkpoints").glob("step-*") if ".tmp-" not in p.name]
    )
    assert saved(tmp_path)
    group = launcher.train(1, "pretrain", tmp_path, resume="auto")
    assert group.wait() == [0], group.text()
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("name", "row"), [("metrics.jsonl", 7), ("events.jsonl", 4), ("samples.jsonl", 5)])
def test_a_disk_that_fills_while_a_row_is_written(
    name: str, row: int, bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the row is there: code 4 and what to do; then the run goes on to equal bits."""
    append, seen = ledger.append, 0

    def full(path: Path, values: dict[str, Any]) -> None:
        nonlocal seen
        seen += path.name == name
        if path.name == name and seen == row:
            with open(path, "ab") as file:
                file.write(b'{"step": 4, "lo')
            raise OSError(28, "No space left on device")
        append(path, values)

    monkeypatch.setattr(ledger, "append", full)
    with pytest.raises(
        CheckpointError, match=r"(?s)the ledger could not be written.*No space left.*--resume"
    ):
        train(tiny("pretrain"), tmp_path, "", probe)
    monkeypatch.undo()
    train(tiny("pretrain"), tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []
    assert len(events(tmp_path, "end")) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only disk, or a file where the folder should be: code 4, also where nothing is there yet."""
    (tmp_path / "file").touch()
    for run in (tmp_path / "file" / "run", tmp_path / "file"):
        with pytest.raises(
            CheckpointError, match=r"(?s)could not be written to .*file.*try: move .*file.*--run"
        ) as found:
            train(tiny("pretrain"), run)
        assert "free" not in str(found.value)
    for code, text in ((30, "Read-only file system"), (13, "Permission denied")):

        def refused(path: Path, what: str, code: int = code, text: str = text) -> None:
            raise OSError(code, text)

        monkeypatch.setattr(atomic, "lock", refused)
        with pytest.raises(
            CheckpointError, match=rf"(?s)the run's files could not be written .*{text}.*try: allow it.*--run"
        ) as found:
            train(tiny("pretrain"), tmp_path / "run", "auto")
        assert "free" not in str(found.value)
