"""What a user sees of a run: every shown number against its closed form; trackers that cannot stop a run."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neogpt.cli._progress import Progress, clock_time, debiased
from neogpt.config import GPT2Config
from neogpt.model import GPT2
from neogpt.recipes import tinyworld
from neogpt.train import speed
from neogpt.train.callbacks.tensorboard import TensorBoard

START = {
    "event": "start",
    "step": 0,
    "steps": 10,
    "device": "cpu",
    "processes": 2,
    "params": 1234,
    "data": {"documents": 7},
}


def test_smoothed_loss_is_the_weighted_mean_of_all_values() -> None:
    values, beta = [5.0, 4.0, 7.0, 1.0], 0.95
    mean = 0.0
    for seen, value in enumerate(values):
        mean = debiased(mean, value, seen, beta)
        weights = [beta ** (seen - i) for i in range(seen + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert mean == pytest.approx(expected)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (92.4, "1:32"), (3700, "1:01:40")])
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


def test_progress_line_shows_what_the_ledger_says() -> None:
    out = io.StringIO()
    clock = iter([0.0, 1.0, 100.0])
    progress = Progress(Console(file=out, width=200), clock=lambda: next(clock))
    progress.event(START)
    row = {"step": 1, "loss": 4.0, "lr": 1e-3, "grad_norm": 2.0}
    progress.row(row)
    progress.event({"event": "progress", "step": 2, "step_s": 3.0, "tokens_per_s": 5000.0})
    progress.row({**row, "step": 2, "loss": 2.0})  # one second later: not shown
    progress.row({"step": 2, "val_loss": 3.25, "tinyworld/asked": 0.5})
    progress.row({**row, "step": 5, "loss": 3.0})
    lines = out.getvalue().splitlines()
    assert "2 process(es), 1,234 parameters; documents 7" in lines[0]
    assert lines[1].startswith("step 1/10 (10%)  loss 4.0000")
    assert lines[2] == "eval at step 2:  val 3.2500  asked 0.50"
    assert "step 5/10 (50%)" in lines[3]
    assert "5,000 tok/s" in lines[3]
    assert "eta 0:15" in lines[3]
    assert len(lines) == 4


def test_progress_says_when_a_step_was_skipped() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200))
    progress.event(START)
    progress.row({"step": 1, "loss": None, "lr": 1e-3, "grad_norm": None, "skipped": "non-finite"})
    assert "loss skipped" in out.getvalue()


def test_flops_a_token_is_six_n_plus_attention() -> None:
    """GPT-2 124M at T = 1024: 6 N + 12 L D T = 859.9 MFLOP (N with embeddings), by hand."""
    config = GPT2Config()
    n = GPT2(config).n_params
    assert n == 124_439_808
    by_hand = 6 * 124_439_808 + 12 * 12 * 768 * 1024
    assert speed.flops_per_token(config, n, 1024) == by_hand == 859_885_056


def test_speed_counts_training_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    watch = speed.Stopwatch(GPT2Config(), tinyworld.pretrain(), every_s=2.0)
    assert watch.lap(0, 0) is None
    now[0] += 1.0
    assert watch.lap(1, 100) is None
    now[0] += 3.0
    assert watch.lap(2, 200) == {"step": 2, "step_s": 2.0, "tokens_per_s": 50.0}
    watch.skip()
    now[0] += 1000.0  # saving and evaluating
    assert watch.lap(3, 300) is None
    now[0] += 4.0
    lap = watch.lap(4, 400)
    assert lap is not None
    assert lap["tokens_per_s"] == 25.0


def test_tensorboard_holds_the_ledger(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.row({"step": 3, "loss": 1.5, "skipped": "spike"})
    board.row({"step": 6, "val_loss": 1.25, "tinyworld/asked": 0.5})
    board.event({"event": "progress", "time": 1.0, "step": 6, "tokens_per_s": 99.0})
    board.event({"event": "end"})
    found = EventAccumulator(str(tmp_path)).Reload()
    read = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert read == {
        "loss": [(3, 1.5)],
        "val_loss": [(6, 1.25)],
        "tinyworld/asked": [(6, 0.5)],
        "tokens_per_s": [(6, 99.0)],
    }


def test_a_tracker_that_fails_warns_once_and_lets_the_run_go_on(tmp_path: Path, monkeypatch: Any) -> None:
    class Broken:
        def add_scalar(self, *args: object) -> None:
            raise OSError("disk full")

    monkeypatch.setattr("neogpt.train.callbacks.tensorboard._open", lambda folder: Broken())
    board = TensorBoard(tmp_path)
    with pytest.warns(UserWarning, match="disk full"):
        board.row({"step": 1, "loss": 1.0})
    board.row({"step": 2, "loss": 1.0})
