"""`--hours`: turned into steps before the first one, without a trace in what the run computes."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from training import Launcher, different, events, kill_at_rows, leftovers, outcome, probe, tiny

from neogpt import config
from neogpt.config import AnyRun
from neogpt.errors import ConfigError
from neogpt.paths import RunDir
from neogpt.recipes import tinyworld
from neogpt.train import time_budget
from neogpt.train.monitors.guardrails import Guardrails
from neogpt.train.run import train
from neogpt.train.time_budget import Pace

HOURS = ("--steps", "0", "--hours", "0.006")
"""21.6 seconds, of which the tests' clock gives one to every step, evaluation and save."""


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(time_budget, "_clock", lambda: float(next(ticks)))


def brute_force(pace: Pace, hours: float, run: AnyRun) -> int:
    """The most steps that fit, by playing the run second by second."""
    left, fits = 3600 * hours - pace.evaluation_s, 1
    for step in range(1, 1000):
        left -= pace.step_s
        if left - pace.evaluation_s - pace.save_s >= -1e-9:  # it could end here
            fits = step
        left -= pace.evaluation_s * bool(run.eval.every and step % run.eval.every == 0)
        left -= pace.save_s * bool(run.save.every and step % run.save.every == 0)
    return fits


@pytest.mark.parametrize("pace", [Pace(1, 1, 1), Pace(0.5, 0, 7), Pace(2, 30, 0.25), Pace(100, 1, 1)])
@pytest.mark.parametrize("every", [(0, 0), (3, 2), (5, 0), (1, 1)])
def test_the_steps_that_fit(pace: Pace, every: tuple[int, int]) -> None:
    run = tiny("pretrain", "--eval.every", str(every[0]), "--save.every", str(every[1]))
    for hours in (0.001, 0.01, 0.05, 0.1):
        assert pace.steps(hours, run) == brute_force(pace, hours, run)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_run_is_the_one_with_the_steps_it_chose(optimizer: str, ticking: None, tmp_path: Path) -> None:
    """Ledger, samples and every file of the checkpoint have equal bytes, and nothing of the timed steps is left."""
    settings = ("--optim.name", optimizer, "--objective.seq-len-warmup", "0.5", "--eval.patience", "1")
    by_hours = tiny("pretrain", *HOURS, *settings)
    train(by_hours, tmp_path / "hours", "", probe)
    (chosen,) = events(tmp_path / "hours", "horizon")
    assert chosen["steps"] == brute_force(Pace(1, 1, 1), 0.006, by_hours)
    assert (chosen["step_s"], chosen["evaluation_s"], chosen["save_s"]) == (1, 1, 1)
    train(tiny("pretrain", "--steps", str(chosen["steps"]), *settings), tmp_path / "steps", "", probe)
    assert different(outcome(tmp_path / "hours"), outcome(tmp_path / "steps")) == []
    assert RunDir(tmp_path / "hours").config.read_bytes() == RunDir(tmp_path / "steps").config.read_bytes()
    assert [row["event"] for row in events(tmp_path / "hours")][:2] == ["horizon", "start"]
    assert leftovers(tmp_path / "hours") == []


def test_timed_steps_are_no_guardrails_first_evaluation(
    ticking: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run by hours would be held to scores that it had after steps that were taken back."""
    began: list[int] = []
    begin = Guardrails._begin
    monkeypatch.setattr(Guardrails, "_begin", lambda c, row: (began.append(row["step"]), begin(c, row))[1])
    watched = ("--eval.guardrails", "val_loss:low", "--eval.guardrail-tolerance", "100")
    train(tiny("pretrain", *HOURS, *watched), tmp_path, "", probe)
    assert began == [0]


@pytest.mark.parametrize("layout", [(), ("--reduction", "fast", "--parallel", "fsdp")], ids=["ddp", "fsdp"])
def test_processes_agree_and_a_resume_keeps_the_steps(
    layout: tuple[str, ...], launcher: Launcher, tmp_path: Path
) -> None:
    """Each process has a clock of its own speed; the main one's counts, also after a kill."""
    folder, settings = tmp_path / "run", (*HOURS, *layout, "--save.background", "False")
    clocks: dict[str, Any] = {"patch": "ticking_clocks"}
    kill_at_rows(launcher.train(2, "pretrain", folder, *settings, hold=3, **clocks), folder, 5)
    group = launcher.train(2, "pretrain", folder, *settings, resume="auto", **clocks)
    assert group.wait() == [0, 0], group.text()
    (chosen,) = events(folder, "horizon")
    assert chosen["steps"] == brute_force(Pace(1, 1, 1), 0.006, tiny("pretrain"))
    steps = ("--steps", str(chosen["steps"]), *layout, "--save.background", "False")
    group = launcher.train(2, "pretrain", tmp_path / "steps", *steps)
    assert group.wait() == [0, 0], group.text()
    assert different(outcome(folder), outcome(tmp_path / "steps")) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (200, 0, 0)),
        (["--hours", "2"], (0, 0, 2)),
        (["--hours=2", "--seed", "3"], (0, 0, 2)),
        (["--tokens", "500"], (0, 500, 0)),
        (["--steps", "200"], (200, 0, 0)),
        (["--steps", "0", "--hours", "2"], (0, 0, 2)),
        (["--tokens", "500", "--hours", "2"], (0, 500, 2)),
    ],
)
def test_a_horizon_that_is_named_replaces_the_recipes(flags: list[str], expected: tuple[float, ...]) -> None:
    run = config.parse(tinyworld.pretrain(), flags)
    assert (run.steps, run.tokens, run.hours) == expected


def test_a_flag_replaces_the_files_horizon_and_the_file_the_recipes(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("tokens = 900\n")
    by_tokens = dataclasses.replace(tinyworld.pretrain(), steps=0, tokens=7)
    run = config.parse(by_tokens, [], file)
    assert (run.steps, run.tokens, run.hours) == (0, 900, 0)
    run = config.parse(tinyworld.pretrain(), ["--hours", "1.5"], file)
    assert (run.steps, run.tokens, run.hours) == (0, 0, 1.5)


def test_two_horizons_are_refused_by_name(tmp_path: Path) -> None:
    run = config.parse(tinyworld.pretrain(), ["--tokens", "500", "--hours", "2"])
    with pytest.raises(ConfigError, match=r"both --tokens 500 and --hours 2\.0 are set"):
        train(run, tmp_path)
    with pytest.raises(ConfigError, match="hours is -1"):
        config.parse(tinyworld.pretrain(), ["--hours=-1"])
