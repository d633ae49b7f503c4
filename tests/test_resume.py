"""A run is a pure function of its config: killed at any instant, resumed on other processes, the bits are the same."""

import json
from pathlib import Path

import pytest
from training import STAGES, Launcher, different, leftovers, n_rows, outcome, saved, until

from neogpt.paths import RunDir

PLACES = ("model", "optimizer", "filled", "manifest", "before_rename", "renamed")
"""The instants of a save, in order."""


def start_of(stage: str, bases: dict[str, Path]) -> list[str]:
    """The settings that name the stage's starting model."""
    return [] if stage == "pretrain" else ["--from", str(bases["pretrain"])]


@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_resumed_on_other_processes_gives_the_same_bits(
    stage: str, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """SIGKILL on 1, then 2, then 4 processes; the end on 1: weights, optimizer and ledgers are equal."""
    folder = tmp_path / "run"
    for world, rows in ((1, 4), (2, 7), (4, 10)):
        group = launcher.train(world, stage, folder, *start_of(stage, bases), resume="auto")
        until(lambda: n_rows(folder) >= rows)
        group.send(9)
        assert group.wait() == [-9] * world, group.text()
    group = launcher.train(1, stage, folder, *start_of(stage, bases), resume="auto")
    assert group.wait() == [0], group.text()
    assert different(outcome(folder), outcome(bases[stage])) == []
    assert leftovers(folder) == []
    worlds = [row["processes"] for row in events(folder) if row["event"] in ("start", "resume")]
    assert worlds == [1, 2, 4, 1]


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in RunDir(folder).events.read_text().splitlines()]
