"""Early stopping: where a run ends, what it keeps, and that no interruption or number of processes moves that."""

import shutil
from pathlib import Path

import pytest
from training import Launcher, different, events, outcome, probe, saved, tiny

from neogpt import ledger, model_store, report
from neogpt.config import BEST_METRIC
from neogpt.errors import ConfigError
from neogpt.ledger import Row
from neogpt.paths import RunDir
from neogpt.train.monitors.early_stopping import EarlyStopping
from neogpt.train.run import train

WORSE = ("--eval.every", "2", "--eval.patience", "2", "--save.every", "5", "--optim.schedule", "constant")
"""Two evaluations of patience, and a rate at which a tiny model soon memorizes its examples."""


def flags(bases: dict[str, Path]) -> list[str]:
    return [
        *WORSE,
        "--optim.lr",
        "0.02",
        "--objective.pretrain-coef",
        "0",
        "--steps",
        "40",
        "--from",
        str(bases["pretrain"]),
    ]


@pytest.fixture(scope="module")
def stopped(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps that ended before."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train(tiny("sft", *flags(bases)), folder)
    return folder


def losses(folder: Path) -> dict[int, float]:
    return {row["step"]: row["val_loss"] for row in ledger.read(RunDir(folder).metrics) if "val_loss" in row}


def test_the_run_ends_after_its_patience_and_stands_for_its_best(stopped: Path) -> None:
    by_step = losses(stopped)
    steps = sorted(by_step)
    best = min(by_step, key=lambda step: by_step[step])
    assert steps[-1] < 40
    assert steps.index(best) == len(steps) - 3  # two evaluations later it ended, and not before
    [event] = events(stopped, "stopped early")
    assert (event["step"], event["best"]) == (steps[-1], best)
    assert events(stopped, "end")[-1]["step"] == steps[-1]
    assert {best, steps[-1]} <= set(saved(stopped))
    assert model_store.resolve(stopped).path == RunDir(stopped).checkpoint(best)


def test_a_run_that_ended_so_stays_ended(stopped: Path, tmp_path: Path, bases: dict[str, Path]) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    train(tiny("sft", *flags(bases)), tmp_path / "run", resume="auto")
    assert different(outcome(stopped), outcome(tmp_path / "run")) == []


@pytest.mark.parametrize("lost", [1, 2])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    lost: int, stopped: Path, tmp_path: Path, bases: dict[str, Path]
) -> None:
    """As if killed before its last saves."""
    shutil.copytree(stopped, tmp_path / "run")
    for step in saved(tmp_path / "run")[-lost:]:
        shutil.rmtree(RunDir(tmp_path / "run").checkpoint(step))
    train(tiny("sft", *flags(bases)), tmp_path / "run", resume="auto")
    assert different(outcome(stopped), outcome(tmp_path / "run")) == []


def test_two_processes_end_at_the_same_step_with_the_same_bits(
    stopped: Path, tmp_path: Path, bases: dict[str, Path], launcher: Launcher
) -> None:
    group = launcher.train(2, "sft", tmp_path / "run", *flags(bases))
    assert group.wait() == [0, 0], group.text()
    assert losses(tmp_path / "run") == losses(stopped)
    assert events(tmp_path / "run", "end")[-1]["step"] == events(stopped, "end")[-1]["step"]


def test_without_patience_a_run_goes_on(bases: dict[str, Path], tmp_path: Path) -> None:
    settings = [*flags(bases), "--eval.patience", "0", "--steps", "12", "--eval.every", "3"]
    train(tiny("sft", *settings), tmp_path / "run")
    assert events(tmp_path / "run", "end")[-1]["step"] == 12
    assert not events(tmp_path / "run", "stopped early")
    assert model_store.resolve(tmp_path / "run").path == RunDir(tmp_path / "run").checkpoint(12)


# --- other scores than the held-out loss -------------------------------------------------------------------

WATCH = ("probe/turns", "val_loss:low")
"""One that turns while the loss still falls, and that the main process alone has; and one that all have."""


def watching(bases: dict[str, Path]) -> list[str]:
    return [*flags(bases), "--optim.lr", "0.001", "--save.every", "3", "--eval.best-metric", *WATCH]


@pytest.fixture(scope="module")
def watched(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended by what it watched."""
    folder = tmp_path_factory.mktemp("watched") / "run"
    train(tiny("sft", *watching(bases)), folder, evaluate=probe)
    return folder


def totals(folder: Path) -> dict[int, float]:
    rows = [row for row in ledger.read(RunDir(folder).metrics) if "probe/turns" in row]
    return {row["step"]: row["probe/turns"] - row["val_loss"] for row in rows}


def test_patience_and_what_is_kept_follow_the_watched_scores(watched: Path) -> None:
    """The held-out loss falls all the time, so nothing of this follows it."""
    by_step, loss = totals(watched), losses(watched)
    steps = sorted(by_step)
    best = max(by_step, key=lambda step: by_step[step])
    assert 0 < best == steps[-3]
    assert steps[-1] == min(loss, key=lambda step: loss[step]) < 40
    assert events(watched, "stopped early")[0]["best"] == best
    assert set(saved(watched)) >= {best, steps[-1]}
    assert model_store.resolve(watched).path == RunDir(watched).checkpoint(best)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_resumed_run_decides_by_the_ledger(
    lost: int, watched: Path, tmp_path: Path, bases: dict[str, Path]
) -> None:
    shutil.copytree(watched, tmp_path / "run")
    for step in saved(tmp_path / "run")[::-1][:lost]:
        shutil.rmtree(RunDir(tmp_path / "run").checkpoint(step))
    train(tiny("sft", *watching(bases)), tmp_path / "run", resume="auto", evaluate=probe)
    assert different(outcome(watched), outcome(tmp_path / "run")) == []


def test_scores_of_the_main_process_alone_stop_all(
    watched: Path, tmp_path: Path, bases: dict[str, Path], launcher: Launcher
) -> None:
    group = launcher.train(2, "sft", tmp_path / "run", *watching(bases))
    assert group.wait() == [0, 0], group.text()
    assert different(outcome(watched), outcome(tmp_path / "run")) == []


def test_a_score_that_no_evaluation_gives_is_named_at_once(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no evaluation gives the score to watch \(eval.best_metric\), probe/turn"
    ):
        train(
            tiny("sft", *flags(bases), "--eval.best-metric", "probe/turn"), tmp_path / "run", evaluate=probe
        )
    assert saved(tmp_path / "run") == []


def recalled(patience: int, rows: list[Row], *best_metric: str) -> EarlyStopping:
    """After these rows of the ledger."""
    stopping = EarlyStopping(patience, best_metric or BEST_METRIC)
    stopping.recall(rows)
    return stopping


def test_equal_evaluations_are_no_progress_and_low_scores_are_taken_off() -> None:
    rows = [
        {"step": s, "a": a, "b": b}
        for s, (a, b) in enumerate([(0.5, 0.0), (1.0, 0.2), (1.0, 0.2), (1.0, 0.5)])
    ]
    patience = recalled(2, rows, "a", "b:low")
    assert (patience.best_step, patience.verdict()) == (1, True)
    assert recalled(2, rows, "a", "b").best_step == 3
    before_the_first_whole_evaluation = recalled(2, [{"step": 0, "a": 1.0}], "a", "b:low")
    assert before_the_first_whole_evaluation.since_best == 0


def test_losses_that_are_no_numbers_are_no_progress() -> None:
    rows = [{"step": step, "val_loss": loss} for step, loss in enumerate([3.0, float("nan"), None])]
    patience = recalled(2, [{"step": 9, "grad_norm": 1.0, "loss": 0.0}, *rows])
    assert (patience.best_step, patience.verdict()) == (0, True)
    assert not recalled(0, rows).verdict()
    patience.note({"step": 7, "val_loss": 2.0})
    assert (patience.best_step, patience.verdict()) == (7, False)


def test_patience_without_evaluations_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is evaluated"):
        tiny("sft", "--eval.patience", "1", "--eval.every", "0")


def test_patience_with_nothing_held_out_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no sample is held out(.|\n)*--eval.patience 0"):
        train(tiny("sft", *flags(bases), "--objective.val-fraction", "0"), tmp_path / "run")


def test_the_report_tells_of_the_model_that_the_run_stands_for(stopped: Path, tmp_path: Path) -> None:
    by_step = losses(stopped)
    best = min(by_step, key=lambda step: by_step[step])
    folder = shutil.copytree(stopped, tmp_path / "run")
    for step in by_step:
        sample = {"eval": "probe", "question": "Who?", "answer": f"as of step {step}.", "verdict": ""}
        ledger.append(RunDir(folder).samples, {"step": step, **sample})
    [stage] = report.summary(folder)["stages"]
    assert (stage["stands_at"], stage["val_loss"]) == (best, by_step[best])
    report.write(folder)
    page = (folder / "report.md").read_text()
    assert f"stands for its best evaluation, step {best} of {max(by_step)}" in page
    assert f"reached a validation loss of {by_step[best]:.3f}" in page
    assert f"as of step {best}." in page
    assert f"as of step {max(by_step)}." not in page
