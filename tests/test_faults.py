"""Signals, bad numbers, peers that die, two runs in one folder: what a run does when something goes wrong."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
from training import (
    Launcher,
    different,
    events,
    kill_at_rows,
    leftovers,
    outcome,
    saved,
    until,
)

from neogpt import ledger
from neogpt.errors import DivergedError
from neogpt.paths import RunDir
from neogpt.train.monitors.step_guard import StepGuard

# signals


@pytest.mark.parametrize(("number", "rank"), [(signal.SIGTERM, 1), (signal.SIGINT, 0)])
def test_a_signal_to_one_process_of_two_stops_both_with_everything_saved(
    number: int, rank: int, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Both finish the step, one save is made, the code is 75, and the resumed run ends in equal bits."""
    folder = tmp_path / "run"
    group = launcher.train(2, "pretrain", folder, hold=4)
    group.reach(folder, 6)
    group.send(number, rank)
    group.heard(rank)
    (folder / "go").touch()
    assert group.wait() == [75, 75], group.text()
    for process in (0, 1):
        assert "everything is saved" in group.text(process)
        assert "--resume auto" in group.text(process)
        assert "Traceback" not in group.text(process)
    last = max(saved(folder))
    assert last == 5
    assert ledger.read(RunDir(folder).metrics)[-1]["step"] == last
    assert [row["step"] for row in events(folder, "save")].count(last) == 1
    assert leftovers(folder) == []
    group = launcher.train(1, "pretrain", folder, resume="auto")
    assert group.wait() == [0], group.text()
    assert different(outcome(folder), outcome(bases["pretrain"])) == []


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(second: int, launcher: Launcher, tmp_path: Path) -> None:
    """Whichever of the two it is, and although the step would never end."""
    group = launcher.train(1, "pretrain", tmp_path, hold=3)
    group.reach(tmp_path, 5)
    until(lambda: saved(tmp_path) == [2])
    group.send(signal.SIGTERM)
    group.heard()
    assert group.codes() == [None]
    group.send(second)
    assert group.wait() == [-second]
    assert saved(tmp_path) == [2]


def test_a_signal_at_the_last_step_ends_the_run_as_usual(launcher: Launcher, tmp_path: Path) -> None:
    group = launcher.train(1, "pretrain", tmp_path, "--steps", "3", hold=2)
    group.reach(tmp_path, 3)
    group.send(signal.SIGTERM)
    group.heard()
    (tmp_path / "go").touch()
    assert group.wait() == [0], group.text()
    assert events(tmp_path, "end")


@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_process_ends_the_others_with_a_message(dead: int, launcher: Launcher, tmp_path: Path) -> None:
    """Long before any timeout, without a traceback, and with no torn checkpoint."""
    group = launcher.train(2, "pretrain", tmp_path, "--steps", "50000", "--save.every", "0")
    group.reach(tmp_path, 4)
    group.send(signal.SIGKILL, dead)
    codes = group.wait()
    assert (codes[dead], codes[1 - dead]) == (-9, 1)
    assert "another one has ended" in group.text(1 - dead)
    assert "Traceback" not in group.text(1 - dead)
    assert saved(tmp_path) == []


def test_a_late_process_decides_as_the_others_do(launcher: Launcher, tmp_path: Path) -> None:
    """It finds a row in the ledger that the main process wrote meanwhile, and must not go by it."""
    few = ("--eval.val-samples", "2", "--steps", "2")  # one chunk: each evaluates on its own
    late = {"rank": 1, "metrics": str(RunDir(tmp_path).metrics)}
    group = launcher.train(2, "pretrain", tmp_path, *few, patch="late", options=late)
    group.reach(tmp_path, 2)
    assert group.wait() == [0, 0], group.text()
    assert [row["step"] for row in metrics(tmp_path)] == [0, 1, 2, 2]


# bad numbers


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_on_one_process_updates_none(
    value: float, launcher: Launcher, tmp_path: Path
) -> None:
    """One micro-batch of rank 1 is bad: the step is marked, nothing moves, and all agree on the rest."""
    settings = ("--steps", "6", "--save.every", "1", "--save.keep-last", "9")
    fault = {"patch": "non_finite", "options": {"places": [(3, 2)], "value": value}}
    two = launcher.train(2, "pretrain", tmp_path / "two", *settings, **fault)
    one = launcher.train(1, "pretrain", tmp_path / "one", *settings, **fault)
    assert (two.wait(), one.wait()) == ([0, 0], [0]), two.text() + one.text()
    assert different(outcome(tmp_path / "two"), outcome(tmp_path / "one")) == []
    rows = [row for row in metrics(tmp_path / "two") if "grad_norm" in row]
    assert [row.get("skipped") for row in rows] == [None, None, None, "non-finite", None, None]
    assert (rows[3]["loss"], rows[3]["grad_norm"]) == (None, None)
    assert all(math.isfinite(row["loss"]) for row in rows if "skipped" not in row)
    weights = [weights_of(tmp_path / "two", step) for step in range(1, 7)]
    assert weights[2] == weights[3]
    assert len(set(weights)) == 5


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The ledger's rows, as strict JSON (no NaN)."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in the ledger")

    lines = RunDir(folder).metrics.read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def weights_of(folder: Path, step: int) -> bytes:
    """Weights and optimizer state of a checkpoint, as bytes."""
    files = [RunDir(folder).checkpoint(step) / f"{name}.safetensors" for name in ("model", "trainer")]
    return b"".join(path.read_bytes() for path in files)


def test_three_bad_steps_in_a_row_end_the_run(launcher: Launcher, tmp_path: Path) -> None:
    """Exit code 5 on all processes, also when a kill and a resume lie between; the last checkpoint is sound."""
    fault: dict[str, Any] = {
        "patch": "non_finite",
        "options": {"places": [(4, 0), (5, 3), (6, 1)], "value": math.nan},
    }
    group = launcher.train(2, "pretrain", tmp_path / "a", **fault)
    assert group.wait() == [5, 5], group.text()
    assert "step 7: the loss or its gradient was not finite for 3 steps in a row" in group.text(1)
    assert [row["step"] for row in metrics(tmp_path / "a") if row.get("skipped")] == [5, 6, 7]
    assert saved(tmp_path / "a") == [4, 6]
    assert weights_of(tmp_path / "a", 4) == weights_of(tmp_path / "a", 6)
    at_once = ("--save.every", "1", "--save.background", "False")
    killed = launcher.train(1, "pretrain", tmp_path / "b", *at_once, hold=6, **fault)
    kill_at_rows(killed, tmp_path / "b", 9)
    group = launcher.train(1, "pretrain", tmp_path / "b", *at_once, resume="auto", **fault)
    assert group.wait() == [5], group.text()
    assert [row["step"] for row in events(tmp_path / "b", "resume")] == [6]
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


def test_spikes_are_skipped_the_same_way_after_a_resume(launcher: Launcher, tmp_path: Path) -> None:
    """The guard's memory is the ledger: killed before the spike, resumed on two processes, equal bits."""
    settings = ("--steps", "40", "--spike-sigma", "6", "--save.every", "9", "--eval.every", "0")
    settings += ("--save.background", "False")
    fault = {"patch": "spikes", "options": {"places": [(36, micro) for micro in range(4)], "factor": 5}}
    whole = launcher.train(1, "pretrain", tmp_path / "whole", *settings, **fault)
    folder = tmp_path / "run"
    kill_at_rows(launcher.train(1, "pretrain", folder, *settings, hold=31, **fault), folder, 32)
    group = launcher.train(2, "pretrain", folder, *settings, resume="auto", **fault)
    assert (whole.wait(), group.wait()) == ([0], [0, 0]), group.text()
    assert different(outcome(folder), outcome(tmp_path / "whole")) == []
    assert [(row["step"], row["skipped"]) for row in metrics(folder) if "skipped" in row] == [(37, "spike")]
    assert [row["step"] for row in events(folder, "resume")] == [27]


def test_guard_by_hand() -> None:
    """Six deviations above the mean of what came before, once 32 are known."""
    assert skipped(recalled(6, [2.0, 4.0] * 15), 1000.0) == ""  # too early to know
    guard = recalled(6, [2.0, 4.0] * 16)  # mean 3, deviation 1
    assert (skipped(guard, 8.99), skipped(guard, 9.01)) == ("", "spike")
    assert skipped(guard, -100.0) == ""  # only upwards
    guard.recall([{"step": 0, "val_loss": 99.0}])
    assert skipped(guard, 9.01) == "spike"


def recalled(spike_sigma: float, losses: list[float]) -> StepGuard:
    """After steps with these losses."""
    guard = StepGuard(spike_sigma)
    guard.recall([{"step": i, "loss": loss, "grad_norm": 1.0} for i, loss in enumerate(losses)])
    return guard


def skipped(guard: StepGuard, loss: float, norm: float = 1.0) -> str:
    return guard.skip_reason(loss, norm)


def taken(guard: StepGuard, step: int, loss: float, norm: float = 1.0) -> str:
    """Decide on a step and note its row, as the loop does; then why it was skipped."""
    reason = guard.skip_reason(loss, norm)
    guard.note({"step": step, "loss": loss, "grad_norm": norm, **({"skipped": reason} if reason else {})})
    return reason


def test_guard_accepts_a_lasting_change_of_level() -> None:
    """Otherwise a run would refuse every step to its end."""
    guard, refused = recalled(6, [2.0, 2.1] * 64), 0
    while taken(guard, refused, 5.0):
        refused += 1
    assert 1 <= refused < 10


def test_guard_counts_only_bad_numbers_in_a_row() -> None:
    guard = StepGuard(spike_sigma=0)
    for loss, norm in ((math.nan, 1.0), (1.0, math.inf), (1.0, 1.0), (math.inf, math.nan), (math.nan, 1.0)):
        taken(guard, 1, loss, norm)
        assert not guard.verdict()
    taken(guard, 9, math.nan)
    with pytest.raises(DivergedError):
        guard.verdict()


# two runs in one folder


def test_a_second_run_in_the_folder_is_refused_and_the_first_unharmed(
    launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    first = launcher.train(1, "pretrain", folder, hold=1)
    first.reach(folder, 2)
    for resume in ("", "auto"):
        second = launcher.train(2, "pretrain", folder, resume=resume)
        assert second.wait() == [2, 1], second.text()
        assert f"the run {folder} is in use by process {first.pids[0]} on " in second.text(0)
    (folder / "go").touch()
    assert first.wait() == [0], first.text()
    assert different(outcome(folder), outcome(bases["pretrain"])) == []
    again = launcher.train(1, "pretrain", folder)
    assert again.wait() == [2]
    assert f"there is already a run in {folder}" in again.text()
    assert different(outcome(folder), outcome(bases["pretrain"])) == []
