"""Disks that fill, files that rot, pickles in disguise: the old checkpoint stays, and nothing is executed."""

import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import Launcher, different, events, kill_at_rows, leftovers, outcome, probe, saved, tiny

from neogpt import atomic, model_store, retention
from neogpt.errors import CheckpointError, NeoGPTError
from neogpt.paths import RunDir
from neogpt.train.run import train

# a full disk


@pytest.mark.parametrize(("size", "world"), [(100_000, 1), (300_000, 2)])
def test_a_disk_that_fills_while_saving(
    size: int, world: int, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """In the middle of the weights, or of the optimizer: code 4 with figures; then the run goes on to equal bits."""
    kill_at_rows(launcher.train(1, "pretrain", tmp_path, hold=5), tmp_path, 7)
    before = saved(tmp_path)
    full = {"patch": "small_files", "options": {"size": size}}
    group = launcher.train(world, "pretrain", tmp_path, resume="auto", **full)
    assert group.wait() == [4, 1][:world], group.text()
    assert "could not be written" in group.text(0)
    assert "File too large" in group.text(0)
    assert "MB free; earlier checkpoints are intact" in group.text(0)
    assert "about 0.7 MB" in group.text(0)  # three times 58,720 numbers of 4 bytes
    assert "Traceback" not in group.text()
    assert saved(tmp_path) == before
    assert leftovers(tmp_path) == []
    group = launcher.train(1, "pretrain", tmp_path, resume="auto")
    assert group.wait() == [0], group.text()
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []


def test_a_real_small_disk(launcher: Launcher, bases: dict[str, Path], tmp_path: Path) -> None:
    """A file system with room for one checkpoint and a half, then with enough."""
    (tmp_path / "disk").mkdir()
    arguments = {
        "folder": str(tmp_path / "disk"),
        "size": 6_000_000,
        "filler": 4_500_000,
        "result": str(tmp_path / "result"),
    }
    group = launcher.start(1, "run_on_small_disk", arguments)
    (code,) = group.wait()
    if code == 77:
        pytest.skip(f"this machine mounts no small disk: {group.text()}")
    assert code == 0, group.text()
    assert "No space left on device" in group.text()
    assert "saved [2], left over []" in group.text()
    assert different(outcome(tmp_path / "result"), outcome(bases["pretrain"])) == []


# files that rot


def damage_by_cutting(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def damage_by_flipping(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_by_cutting, damage_by_flipping, Path.unlink])
def test_damage_to_any_file_is_seen(
    damage: Callable[[Path], None], bases: dict[str, Path], tmp_path: Path
) -> None:
    """Each file of the newest checkpoint in turn: it is passed over, and the file is named."""
    run = RunDir(tmp_path / "run")
    shutil.copytree(RunDir(bases["pretrain"]).checkpoints, run.checkpoints)
    older, newest = retention.steps(run)
    names = sorted(path.name for path in run.checkpoint(newest).iterdir())
    assert len(names) == 9
    for name in names:
        path = run.checkpoint(newest) / name
        whole = path.read_bytes()
        damage(path)
        said: list[str] = []
        assert retention.newest(run, said.append) == run.checkpoint(older), name
        assert len(said) == 1
        assert name in said[0]
        path.write_bytes(whole)
    assert retention.newest(run) == run.checkpoint(newest)


def test_a_checkpoint_named_by_its_folder_is_checked_too(bases: dict[str, Path], tmp_path: Path) -> None:
    """--from step-00000012 with a flipped bit must not train on other weights; without a manifest it is a model."""
    folder = tmp_path / "model"
    shutil.copytree(RunDir(bases["pretrain"]).checkpoint(12), folder)
    damage_by_flipping(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        model_store.load_model(folder)
    (folder / "MANIFEST.json").unlink()
    model_store.load_model(folder)


def test_no_whole_checkpoint_is_code_4_and_changes_nothing(
    launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(bases["pretrain"], folder)
    for step in saved(folder):
        damage_by_flipping(RunDir(folder).checkpoint(step) / "model.safetensors")
    rows = RunDir(folder).metrics.read_bytes()
    group = launcher.neogpt("pretrain", "tinyworld", "--run", str(folder), "--resume")
    assert group.wait() == [4]
    assert "none of the 2 checkpoints" in group.text()
    assert "model.safetensors is damaged: its sha256 differs" in group.text()
    assert "Traceback" not in group.text()
    assert RunDir(folder).metrics.read_bytes() == rows
    assert len(list(RunDir(folder).checkpoints.iterdir())) == 2


def test_a_resume_from_the_older_one_gives_equal_bits(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(bases["pretrain"], folder)
    damage_by_cutting(RunDir(folder).checkpoint(12) / "trainer.safetensors")
    train(tiny("pretrain"), folder, "auto", probe)
    assert different(outcome(folder), outcome(bases["pretrain"])) == []
    said = [row["message"] for row in events(folder, "warning")]
    assert "skipped step-00000012" in said[0]
    assert "trainer.safetensors has" in said[0]


# pickles and other traps


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, guardrail: Path) -> None:
        self.guardrail = guardrail

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.guardrail),)


@pytest.fixture
def trap(tmp_path: Path) -> bytes:
    """A pickle that would give itself away."""
    content = pickle.dumps(Trap(tmp_path / "guardrail"))
    pickle.loads(content)  # noqa: S301 (the trap must work)
    (tmp_path / "guardrail").rmdir()
    return content


def sign(folder: Path) -> None:
    """Make the manifest agree with what is there now, as somebody hostile would."""
    (folder / "MANIFEST.json").unlink()
    atomic.write_manifest(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "trainer.json", "trainer.safetensors"])
def test_a_pickle_in_a_signed_checkpoint_is_refused(
    name: str, trap: bytes, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(bases["pretrain"], folder)
    victim = RunDir(folder).checkpoint(12)
    (victim / name).write_bytes(trap)
    sign(victim)
    with pytest.raises(NeoGPTError) as caught:
        train(tiny("pretrain"), folder, "auto", probe)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "guardrail").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_starting_model_that_is_a_pickle_is_refused(
    name: str, trap: bytes, bases: dict[str, Path], tmp_path: Path
) -> None:
    victim = tmp_path / "model"
    shutil.copytree(RunDir(bases["pretrain"]).checkpoint(12), victim)
    (victim / name).write_bytes(trap)
    sign(victim)
    with pytest.raises(NeoGPTError) as caught:
        train(tiny("sft", "--from", str(victim)), tmp_path / "run")
    assert caught.value.exit_code in (3, 4)
    assert not (tmp_path / "guardrail").exists()


def test_pickled_weights_are_refused_by_name(trap: bytes, bases: dict[str, Path], tmp_path: Path) -> None:
    """pytorch_model.bin beside a config, and a .pt file given to --from."""
    old = tmp_path / "old"
    shutil.copytree(RunDir(bases["pretrain"]).checkpoint(12), old)
    for name in ("model.safetensors", "MANIFEST.json"):
        (old / name).unlink()
    (old / "pytorch_model.bin").write_bytes(trap)
    (tmp_path / "model.pt").write_bytes(trap)
    for start, named in ((old, "pytorch_model.bin"), (tmp_path / "model.pt", "is a file")):
        with pytest.raises(CheckpointError, match="pickle") as caught:
            train(tiny("sft", "--from", str(start)), tmp_path / "run")
        assert named in str(caught.value)
    assert not (tmp_path / "guardrail").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 60) + b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 9]}}'[:60],
    ],
)
def test_crafted_weights_are_refused(content: bytes, bases: dict[str, Path], tmp_path: Path) -> None:
    """Empty, torn, with a header of a terabyte, without tensors, with offsets beyond the end."""
    victim = tmp_path / "model"
    shutil.copytree(RunDir(bases["pretrain"]).checkpoint(12), victim)
    (victim / "model.safetensors").write_bytes(content)
    sign(victim)
    with pytest.raises(CheckpointError, match=r"safetensors|lacks"):
        model_store.load_model(victim)
