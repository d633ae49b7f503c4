"""A run is a pure function of its config: killed at any instant, resumed on other processes, the bits are the same."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from training import (
    PYTHON,
    ROOT,
    STAGES,
    Launcher,
    different,
    events,
    flags,
    kill_at_rows,
    leftovers,
    n_rows,
    outcome,
    saved,
    start_of,
    until,
)

PLACES = ("model", "optimizer", "filled", "manifest", "before_rename", "renamed")
"""The instants of a save, in order (before them, in the background only: "copied")."""


@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_resumed_on_other_processes_gives_the_same_bits(
    stage: str, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """SIGKILL on 1, then (while saving) on 2, then on 4 processes; the end on 1. All bytes are equal."""
    folder, start = tmp_path / "run", start_of(stage, bases)
    dice = random.Random(stage)
    killed = launcher.train(1, stage, folder, *start, resume="auto", hold=6)  # two saves are left
    kill_at_rows(killed, folder, 3, dice.random() / 5)
    place = {"place": f"checkpoint.{dice.choice(PLACES)}", "hit": 2}
    group = launcher.train(2, stage, folder, *start, resume="auto", patch="killed_at", options=place)
    assert group.wait() == [-9, 1], group.text()
    killed = launcher.train(4, stage, folder, *start, resume="auto", hold=11)
    kill_at_rows(killed, folder, 10, dice.random() / 5)
    group = launcher.train(1, stage, folder, *start, resume="auto")
    assert group.wait() == [0], group.text()
    assert different(outcome(folder), outcome(bases[stage])) == []
    assert leftovers(folder) == []
    starts = events(folder, "start", "resume")
    assert [row["processes"] for row in starts] == [1, 2, 4, 1]
    assert starts[-1]["step"] > 0


@pytest.mark.parametrize("background", [True, False])
def test_killed_at_each_instant_of_a_save(
    background: bool, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """After every kill the newest checkpoint is whole, what was torn is swept up, and the end has equal bits."""
    folder, how = tmp_path / "run", ("--save.background", str(background))
    first = {"NEOGPT_FAILPOINT": "checkpoint.copied" if background else "checkpoint.model"}
    group = launcher.train(1, "pretrain", folder, *how, environment=first)
    assert group.wait() == [-9]
    assert saved(folder) == []
    for number, place in enumerate(PLACES):
        options = {"place": f"checkpoint.{place}", "hit": 1 if place == "renamed" else 2}
        world = 1 + number % 2
        group = launcher.train(
            world, "pretrain", folder, *how, resume="auto", patch="killed_at", options=options
        )
        assert group.wait() == [-9, 1][:world], group.text()
        assert max(saved(folder)) == 2 * (number + 1)
        if world == 2:
            assert "another one has ended" in group.text(1)
            assert "Traceback" not in group.text(1)
    group = launcher.train(1, "pretrain", folder, *how, resume="auto")
    assert group.wait() == [0], group.text()
    said = {f"checkpoints/step-00000012/{name}" for name in ("trainer.json", "MANIFEST.json")}  # how it saves
    assert set(different(outcome(folder), outcome(bases["pretrain"]))) == (set() if background else said)
    assert leftovers(folder) == []


def test_bfloat16_gives_the_same_bits_on_other_processes(launcher: Launcher, tmp_path: Path) -> None:
    bf16 = ("--dtype", "bfloat16", "--optim.name", "muon")
    alone = launcher.train(1, "pretrain", tmp_path / "alone", *bf16)
    folder = tmp_path / "run"
    kill_at_rows(launcher.train(2, "pretrain", folder, *bf16, hold=5), folder, 7)
    group = launcher.train(4, "pretrain", folder, *bf16, resume="auto")
    assert (alone.wait(), group.wait()) == ([0], [0, 0, 0, 0]), group.text()
    assert different(outcome(folder), outcome(tmp_path / "alone")) == []


def test_three_processes_with_two_micro_batches_each(launcher: Launcher, tmp_path: Path) -> None:
    """Every process holds a subtree of the sum of six: 3, then 6, then 1 process give the bits of 1."""
    six = ("--batch.size", "12", "--batch.micro-batches", "6", "--steps", "8")
    alone = launcher.train(1, "pretrain", tmp_path / "alone", *six)
    folder = tmp_path / "run"
    kill_at_rows(launcher.train(3, "pretrain", folder, *six, hold=3), folder, 4)
    kill_at_rows(launcher.train(6, "pretrain", folder, *six, resume="auto", hold=5), folder, 7)
    group = launcher.train(1, "pretrain", folder, *six, resume="auto")
    assert (alone.wait(), group.wait()) == ([0], [0]), group.text()
    assert different(outcome(folder), outcome(tmp_path / "alone")) == []


def test_an_impossible_number_of_processes_names_the_possible_ones(
    launcher: Launcher, tmp_path: Path
) -> None:
    group = launcher.train(
        2, "pretrain", tmp_path / "run", "--batch.size", "12", "--batch.micro-batches", "6"
    )
    assert group.wait() == [2, 2]
    assert "6 micro-batches cannot be shared by 2 processes" in group.text(0)
    assert "expected: 1, 3, 6 processes" in group.text(0)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_torchrun_stopped_and_resumed(launcher: Launcher, bases: dict[str, Path], tmp_path: Path) -> None:
    """The real launcher: SIGTERM to torchrun saves on both processes; one process goes on to equal bits."""
    folder = tmp_path / "run"
    settings = [*flags("pretrain"), "--save.every", "0"]
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, faults\nfrom neogpt.cli.main import main\nfaults.held(4)\nsys.exit(main())\n"
    )
    command = [
        *(PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "--"),
        *(str(program), "pretrain", "tinyworld", "--run", str(folder), *settings),
    ]
    environment = {**os.environ, "NEOGPT_HOME": str(launcher.home), "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: n_rows(folder) >= 6 or running.poll() is not None)
        running.terminate()
        text = running.communicate(timeout=150)[0].decode()
    finally:
        running.kill()
    assert running.returncode != 0
    assert "everything is saved" in text, text
    assert saved(folder) == [5]
    assert [row["step"] for row in events(folder, "save")] == [5]
    group = launcher.neogpt("pretrain", "tinyworld", "--run", str(folder), "--resume", *settings)
    alone = launcher.neogpt("pretrain", "tinyworld", "--run", str(tmp_path / "alone"), *settings)
    assert (group.wait(), alone.wait()) == ([0], [0]), group.text() + alone.text()
    assert different(outcome(folder), outcome(tmp_path / "alone")) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_fifty_random_instants(
    stage: str, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Never without a whole checkpoint once there is one, never a mixed one, and the end has equal bits.

    Saves are in the background; each second one is slow to write, so that kills also find the loop ahead of it.
    """
    folder, start = tmp_path / "run", start_of(stage, bases)
    dice = random.Random(stage)
    best = 0
    for _ in range(50):
        slow = {"patch": "slow_to_write", "options": {"seconds": dice.choice([0, 0.2])}}
        group = launcher.train(dice.choice([1, 2, 4]), stage, folder, *start, resume="auto", **slow)
        before = n_rows(folder)
        kill_at_rows(group, folder, min(before, dice.randrange(4)), dice.random() * 1.5)
        if best:
            assert saved(folder)
        best = max([0, *saved(folder)])
    group = launcher.train(1, stage, folder, *start, resume="auto")
    assert group.wait() == [0], group.text()
    assert different(outcome(folder), outcome(bases[stage])) == []
