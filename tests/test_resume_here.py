"""Resume within one process: every objective, at every border that a run has."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import STAGES, different, events, outcome, probe, saved, start_of, tiny

from neogpt import atomic, ledger, retention
from neogpt.paths import RunDir
from neogpt.train.run import train

Row = dict[str, Any]


class Killed(Exception):
    """The end of the process, for a test."""


class Assassin:
    """A tracker that ends the run at the first row or event that it is waiting for."""

    def __init__(
        self, row: Callable[[Row], bool] | None = None, event: Callable[[Row], bool] | None = None
    ) -> None:
        self.waits_for_row, self.waits_for_event = row, event

    def row(self, row: Row) -> None:
        if self.waits_for_row and self.waits_for_row(row):
            raise Killed

    def event(self, event: Row) -> None:
        if self.waits_for_event and self.waits_for_event(event):
            raise Killed


def at_step(step: int) -> Assassin:
    """Ends the run after the ledger row of this step."""
    return Assassin(row=lambda row: row["step"] == step and "grad_norm" in row)


def after_save(step: int) -> Assassin:
    """Ends the run between the save of this step and its evaluation."""
    return Assassin(event=lambda event: event["event"] == "save" and event["step"] == step)


def killed(run: Any, folder: Path, assassin: Assassin) -> None:
    with pytest.raises(Killed):
        train(run, folder, "auto", probe, [assassin])


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_borders(stage: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """Before the first save, between a save and its evaluation, one step after a save, after the last save."""
    run = tiny(stage, *start_of(stage, bases))
    for assassin in (
        Assassin(row=lambda row: row["step"] == 0),
        at_step(1),
        after_save(6),
        at_step(7),
        after_save(12),
    ):
        killed(run, tmp_path, assassin)
    train(run, tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases[stage])) == []
    assert [row["step"] for row in events(tmp_path, "start", "resume")] == [0, 0, 0, 6, 6, 12]


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_left_to_train_changes_nothing(stage: str, bases: dict[str, Path]) -> None:
    before = content(bases[stage])
    train(tiny(stage, *start_of(stage, bases)), bases[stage], "auto", probe)
    assert different(content(bases[stage]), before) == []


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run but the record of its starts."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name not in ("events.jsonl", ".lock")
    }


@pytest.mark.parametrize("place", ["samples", "row"])
def test_killed_while_evaluating_writes_samples_once(
    place: str, bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation of step 6 dies after its first sample, or between its samples and its row."""
    append, samples = ledger.append, 0

    def dying(path: Path, row: Row) -> None:
        nonlocal samples
        if place == "row" and row["step"] == 6 and "val_loss" in row:
            raise Killed
        append(path, row)
        samples += path.name == "samples.jsonl" and row["step"] == 6
        if place == "samples" and samples:
            raise Killed

    run = tiny("pretrain")
    monkeypatch.setattr(ledger, "append", dying)
    killed(run, tmp_path, Assassin())
    monkeypatch.undo()
    train(run, tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []


def test_killed_exactly_at_an_epoch_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches are one epoch; the run dies at its end, and in the middle of the next."""
    from neogpt.objectives.pretrain.objective import Pretrain

    begin = Pretrain.__init__

    def shortened(self: Any, *args: Any) -> None:
        begin(self, *args)
        self.n_samples = 24

    monkeypatch.setattr(Pretrain, "__init__", shortened)
    run = tiny("pretrain", "--save.every", "3")
    train(run, tmp_path / "alone", "", probe)
    for step in (3, 7):
        killed(run, tmp_path / "run", after_save(step) if step == 3 else at_step(step))
    train(run, tmp_path / "run", "auto", probe)
    assert different(outcome(tmp_path / "run"), outcome(tmp_path / "alone")) == []


def test_a_torn_ledger_line_is_mended(bases: dict[str, Path], tmp_path: Path) -> None:
    run = tiny("pretrain")
    killed(run, tmp_path, at_step(7))
    with open(RunDir(tmp_path).metrics, "ab") as file:
        file.write(b'{"step": 8, "lo')
    train(run, tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []


def test_an_older_checkpoint_can_be_taken(bases: dict[str, Path], tmp_path: Path) -> None:
    """What came later is removed with its rows, said, and made again to the same bits, in spite of a kill."""
    run = tiny("pretrain", "--save.keep-last", "9")
    train(run, tmp_path, "", probe)
    before = content(tmp_path)
    with pytest.raises(Killed):
        train(run, tmp_path, str(RunDir(tmp_path).checkpoint(4)), probe, [at_step(5)])
    assert saved(tmp_path) == [2, 4]
    train(run, tmp_path, "auto", probe)
    assert different(content(tmp_path), before) == []
    said = [row["message"] for row in events(tmp_path, "warning")]
    assert said == [f"removed step {step}: the run goes on from step 4" for step in (6, 8, 10, 12)]


def test_the_newest_is_passed_over_when_it_is_damaged(bases: dict[str, Path], tmp_path: Path) -> None:
    """The older one is used, the reason told, the damaged one replaced: never deleted in its favour."""
    run = tiny("pretrain", "--save.keep-last", "1", "--save.keep-best", "False")
    killed(run, tmp_path, at_step(5))
    assert saved(tmp_path) == [4]
    later = RunDir(tmp_path).checkpoint(8)
    with atomic.directory(later) as folder:
        (folder / "model.safetensors").write_bytes(b"x")
    (later / "model.safetensors").write_bytes(b"y")
    killed(run, tmp_path, at_step(7))
    assert saved(tmp_path) == [6]
    said = [row["message"] for row in events(tmp_path, "warning")]
    assert "skipped step-00000008" in said[0]
    assert "model.safetensors is damaged" in said[0]
    train(run, tmp_path, "auto", probe)
    assert outcome(tmp_path)["metrics.jsonl"] == outcome(bases["pretrain"])["metrics.jsonl"]


def test_what_the_machine_decided_stays(bases: dict[str, Path], tmp_path: Path) -> None:
    """auto dtype, 0 threads and an absent --from are taken from the run on resume."""
    run = tiny("sft", *start_of("sft", bases))
    killed(run, tmp_path, after_save(6))
    left_open = dataclasses.replace(run, dtype="auto", threads=0, device="auto", init_from="")
    train(left_open, tmp_path, "auto", probe)
    assert different(outcome(tmp_path), outcome(bases["sft"])) == []


def test_save_policy_may_change_on_resume(bases: dict[str, Path], tmp_path: Path) -> None:
    killed(tiny("pretrain"), tmp_path, at_step(7))
    train(tiny("pretrain", "--save.every", "5", "--save.keep-last", "4"), tmp_path, "auto", probe)
    assert saved(tmp_path) == [4, 6, 10, 12]
    assert outcome(tmp_path)["metrics.jsonl"] == outcome(bases["pretrain"])["metrics.jsonl"]


def test_validation_without_samples_and_evaluation_without_scores(tmp_path: Path) -> None:
    """Nothing is held out and nothing is evaluated: the run and its resume still work."""
    run = tiny("pretrain", "--eval.val-samples", "0", "--steps", "4")
    with pytest.raises(Killed):
        train(run, tmp_path, "", None, [after_save(2)])
    train(run, tmp_path, "auto", None)
    rows = ledger.read(RunDir(tmp_path).metrics)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 3, 4, 4]
    with contextlib.suppress(FileNotFoundError):
        assert RunDir(tmp_path).samples.read_bytes() == b""
    assert retention.steps(RunDir(tmp_path)) == [2, 4]
