"""A grid of runs: longer runs go on from shorter ones with the bits they would have had; any stop is taken up."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import different, events, flags, outcome

from neogpt import ledger
from neogpt.cli import main as command_line
from neogpt.errors import CheckpointError, ConfigError, DataError, NeoGPTError, PreemptedError
from neogpt.model import GPT2
from neogpt.optim.schedule import learning_rate
from neogpt.paths import RunDir
from neogpt.studies.scaling import grid, runner
from neogpt.studies.scaling import points as tables
from neogpt.studies.scaling.branch import branch
from neogpt.studies.scaling.grid import Size, Spec

PER_STEP = 8 * 48
OWN = ("--steps", "--model.n-layer", "--model.n-head", "--model.n-embd", "--save.every")
TYPED = flags("pretrain", "--optim.schedule", "wsd", "--optim.decay_ratio", "0.4", "--eval.every", "0")
SETTINGS = tuple(
    value for i, value in enumerate(TYPED) if value not in OWN and (i == 0 or TYPED[i - 1] not in OWN)
)
TOKENS = tuple(steps * PER_STEP for steps in (20, 33, 48))
Calls = list[list[str]]


def spec(**changes: Any) -> Spec:
    return Spec(
        **{"recipe": "tinyworld", "sizes": ("1x32x2",), "tokens": TOKENS, "settings": SETTINGS, **changes}
    )


def typed(folder: Path, *more: str) -> list[str]:
    sizes = ["--sizes", "1x32x2", "--tokens", *map(str, TOKENS)]
    return ["study", "scaling", "grid", "tinyworld", "--folder", str(folder), *sizes, *more, "--", *SETTINGS]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Runs train in this process, which has torch already; what was called is kept."""
    found: Calls = []
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    def run(command: list[str]) -> int:
        assert command[:3] == [sys.executable, "-m", "neogpt"]
        found.append(command[3:])
        return command_line.main(command[3:])

    monkeypatch.setattr(runner, "_exit_code", run)
    return found


def test_a_grid_is_trained_tabled_and_taken_up(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three horizons; the longest is the run from scratch to the last bit, though half of it was trained."""
    assert command_line.main(typed(tmp_path / "grid")) == 0
    jobs = grid.chains(spec())[0]
    assert [job.steps for job in jobs] == [20, 33, 48]
    assert [call[:2] for call in calls] == [["pretrain", "tinyworld"]] * 3
    begun = events(tmp_path / "grid" / jobs[2].name, "start", "resume")
    assert [(event["event"], event["step"]) for event in begun] == [("resume", jobs[1].flat)]
    scratch = tmp_path / "scratch"
    assert command_line.main(["pretrain", "tinyworld", "--run", str(scratch), *jobs[2].flags]) == 0
    assert different(outcome(scratch), outcome(tmp_path / "grid" / jobs[2].name)) == []

    points = tables.read(tmp_path / "grid" / grid.TABLE)
    assert points.tokens == pytest.approx(TOKENS, rel=2e-3)  # the text's last window is short
    assert points.runs == ("1x32x2-seed0",) * 3
    model = GPT2(grid_model(tmp_path / "grid" / jobs[0].name))
    embeddings = model.transformer.wte.weight.numel() + model.transformer.wpe.weight.numel()
    assert points.n_params[0] == model.n_params
    assert points.n_params_non_embedding is not None
    assert points.n_params_non_embedding[0] == model.n_params - embeddings
    last = ledger.read(scratch / "metrics.jsonl")[-1]
    assert points.loss[2] == last["val_loss"]

    calls.clear()
    capsys.readouterr()
    assert command_line.main(["study", "scaling", "grid", "--folder", str(tmp_path / "grid"), "--json"]) == 0
    assert calls == []
    assert [row["steps"] for row in json.loads(capsys.readouterr().out)] == [20, 33, 48]
    assert command_line.main(["study", "scaling", "--points", str(tmp_path / "grid" / grid.TABLE)]) == 3


def grid_model(folder: Path) -> Any:
    from neogpt import config

    return config.GPT2Config(**config.read_toml(folder / "config.toml")["model"])


def test_a_stopped_run_stops_the_grid_and_is_taken_up(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the second run: exit code 75, and the same command goes on to the same bits."""
    jobs = grid.chains(spec())[0][:2]
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    runner.train_chain(whole, "tinyworld", jobs, lambda _: None)
    train = runner._exit_code
    runner.train_chain(folder, "tinyworld", jobs[:1], lambda _: None)
    monkeypatch.setattr(runner, "_exit_code", lambda _: 75)
    with pytest.raises(PreemptedError):
        runner.train_chain(folder, "tinyworld", jobs, lambda _: None)
    monkeypatch.setattr(runner, "_exit_code", lambda _: 5)
    with pytest.raises(NeoGPTError) as caught:
        runner.train_chain(folder, "tinyworld", jobs, lambda _: None)
    assert caught.value.code == "scaling.run_failed"
    monkeypatch.setattr(runner, "_exit_code", train)
    told: list[str] = []
    runner.train_chain(folder, "tinyworld", jobs, told.append)
    assert told[0].endswith("done")
    for job in jobs:
        assert different(outcome(whole / job.name), outcome(folder / job.name)) == []


def test_the_rate_is_the_same_until_the_shorter_run_falls() -> None:
    """Each run's own schedule at every step, from the shares that the grid gives it."""
    run = grid.base_run(spec())
    import dataclasses

    schedules = []
    for job in grid.chains(spec())[0]:
        optim = dataclasses.replace(
            run.optim,
            warmup_ratio=job.changes["optim.warmup_ratio"],
            decay_ratio=job.changes["optim.decay_ratio"],
        )
        rates = [learning_rate(step, job.steps, optim) for step in range(job.steps)]
        schedules.append(rates)
        assert rates[job.flat] == optim.lr > rates[job.flat + 1]
        assert 0.3 < (job.steps - job.flat) / job.steps < 0.5
        assert job.flat % job.changes["save.every"] == 0
    for shorter, longer, job in zip(schedules, schedules[1:], grid.chains(spec())[0], strict=False):
        assert shorter[: job.flat] == longer[: job.flat]


@pytest.mark.parametrize("change", [("--optim.schedule", "cosine"), ("--objective.seq_len_warmup", "0.5")])
def test_runs_that_differ_from_the_start_begin_from_scratch(change: tuple[str, str]) -> None:
    jobs = grid.chains(spec(settings=(*SETTINGS, *change)))[0]
    assert [job.flat for job in jobs] == [0, 0, 0]
    assert all(list(job.changes) == ["steps"] for job in jobs)


def test_sizes_are_parsed_and_named() -> None:
    assert [str(Size.parse(text)) for text in ("2x64", "6x384", "3x96x4")] == ["2x64x2", "6x384x6", "3x96x4"]
    for text in ("2", "x64", "2x64x2x2", "0x64", "2x64x7"):
        with pytest.raises(ConfigError):
            Size.parse(text)


def test_what_a_grid_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(call: Callable[[], object]) -> str:
        with pytest.raises((ConfigError, DataError, CheckpointError)) as caught:
            call()
        return caught.value.code

    assert code(lambda: spec(sizes=())) == "scaling.bad_grid"
    assert code(lambda: spec(seeds=(1, 1))) == "scaling.bad_grid"
    assert code(lambda: spec(settings=("--seed", "3"))) == "scaling.bad_grid"
    assert code(lambda: spec(settings=("--save.every=3",))) == "scaling.bad_grid"
    assert code(lambda: grid.chains(spec(tokens=(PER_STEP, 90 * PER_STEP)))) == "scaling.bad_grid"
    assert code(lambda: grid.chains(spec(tokens=(50 * PER_STEP, 50 * PER_STEP + 1)))) == "scaling.bad_grid"
    assert code(lambda: grid.chains(spec(recipe="finetune", settings=()))) == "scaling.bad_grid"
    assert code(lambda: Spec.read(tmp_path)) == "scaling.no_grid"
    spec().keep(tmp_path)
    spec(seeds=(0, 1)).keep(tmp_path)
    assert Spec.read(tmp_path).seeds == (0, 1)
    assert code(lambda: spec(settings=()).keep(tmp_path)) == "scaling.other_grid"
    assert code(lambda: grid.table(tmp_path, grid.chains(spec())[0])) == "scaling.too_few_points"
    nowhere = RunDir(tmp_path / "nowhere")
    assert code(lambda: branch(nowhere, 8, RunDir(tmp_path / "new"), {})) == "scaling.no_branch"
    for args in (["--sizes", "2x64"], ["--folder", str(tmp_path), "--chain", "9"], []):
        assert command_line.main(["study", "scaling", "grid", *args]) == 2
        assert "expected" in capsys.readouterr().err


def test_the_plan_counts_what_branches_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(typed(tmp_path, "--seeds", "0", "1", "--dry-run", "--json")) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["steps"] for row in rows] == [20, 33, 48] * 2
    assert not list(tmp_path.iterdir())
    assert command_line.main(typed(tmp_path, "--dry-run")) == 0
    jobs = grid.chains(spec())[0]
    trained = 20 + 33 - jobs[0].flat + 48 - jobs[1].flat
    assert f"{trained} steps (101 from scratch)" in capsys.readouterr().out


def test_slurm_gets_an_array_of_chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        queued = command[0] == "squeue" and len(seen) == 2
        return subprocess.CompletedProcess(
            command, 0, "77;cluster" if command[0] == "sbatch" else "x" * queued
        )

    monkeypatch.setattr(runner.subprocess, "run", run)
    monkeypatch.setattr(runner, "_POLL_S", 0)
    runner.on_slurm(tmp_path, 6, "cpu", "1:00:00", 2)
    assert [command[0] for command in seen] == ["sbatch", "squeue", "squeue"]
    assert "--array=0-5" in seen[0]
    assert seen[0][-1].endswith("--chain $SLURM_ARRAY_TASK_ID")
    assert seen[1][-1] == "77"
    with pytest.raises(ConfigError) as caught:
        runner.on_slurm(tmp_path, 6, "", "1:00:00", 2)
    assert caught.value.code == "scaling.bad_grid"
