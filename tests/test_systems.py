"""Linux, macOS, Windows: what can be shown of the other two here, and what runs where there is an Apple GPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training import ROOT, different, outcome

from neogpt import ledger
from neogpt.errors import ConfigError
from neogpt.train.device import pick_device

PYTHON = [sys.executable, "-X", "warn_default_encoding"]
IMITATE = "import faults, windows; windows.imitate()\n"


def in_imitation(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a fresh interpreter does after `windows.imitate()`."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return subprocess.run(
        [*PYTHON, "-c", IMITATE + code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )


def test_the_imitation_lacks_what_windows_lacks(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    done = in_imitation(f"""
import os, pathlib, signal
here = pathlib.Path({str(tmp_path)!r})
a = here / 'a'
def attempt(work):
    try: work()
    except Exception as error: return type(error).__name__
def import_fcntl(): import fcntl
print(attempt(import_fcntl), hasattr(os, 'fork'), hasattr(signal, 'SIGKILL'), hasattr(signal, 'SIGTERM'))
print(attempt(lambda: os.open(here, os.O_RDONLY)), attempt(lambda: os.fsync(os.open(a, os.O_RDONLY))))
print(attempt(lambda: a.rename(here / 'b')), attempt(lambda: (here / 'c').symlink_to(a)))
with open(a, encoding='utf-8') as file:
    print(*(attempt(work) for work in (a.unlink, lambda: a.rename(here / 'c'), lambda: os.replace(here / 'b', a))))
    print(attempt(lambda: here.rename(here.with_name('other'))))
""")
    assert done.stdout.splitlines() == [
        "ModuleNotFoundError False False True",
        "PermissionError OSError",
        "FileExistsError OSError",
        "PermissionError PermissionError PermissionError",
        "PermissionError",
    ], done.stderr


def test_every_module_is_imported_without_posix() -> None:
    names = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "neogpt").rglob("*.py"))]
    modules = [".".join(name.parts).removesuffix(".__init__") for name in names if name.name != "__main__"]
    done = in_imitation(
        f"""
import importlib
for name in {modules}: importlib.import_module(name)
print(len([name for name in sys.modules if name.startswith('neogpt')]))
""".replace("import importlib", "import importlib, sys")
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(modules) > 150


def test_a_run_without_posix_is_killed_and_resumed_to_the_same_bytes(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    """A tiny pretraining with evaluations and saves; Windows ends a process where POSIX sends SIGKILL."""
    code = (
        f"import training; raise SystemExit(training.run_here('pretrain', {str(tmp_path)!r}, resume='auto'))"
    )
    killed = in_imitation(code, NEOGPT_FAILPOINT="checkpoint.before_rename")
    assert killed.returncode == -signal.SIGTERM, killed.stderr
    done = in_imitation(code)
    assert done.returncode == 0, done.stderr
    assert different(outcome(tmp_path), outcome(bases["pretrain"])) == []


@pytest.mark.parametrize("wanted", ["mps", "cuda", "cuda:7", "meta", "abacus"])
def test_a_device_that_is_not_here_is_refused(wanted: str) -> None:
    """By name, before anything is built; what is here is taken as it stands."""
    here = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    kind = wanted.partition(":")[0]
    if here.get(kind):
        assert pick_device(kind) == kind
        return
    with pytest.raises(ConfigError) as error:
        pick_device(wanted)
    assert error.value.code == ("config.device_not_here" if kind in here else "config.no_such_device")


def test_an_apple_gpu_trains_what_the_processor_does(tmp_path: Path) -> None:
    """A few steps on each: losses alike within float32's error."""
    if not torch.backends.mps.is_available():
        pytest.skip("there is no Apple GPU here (mps)")
    losses = {}
    for device in ("cpu", "mps"):
        command = (
            f"pretrain tinyworld --run {device} --device {device} --dtype float32 --steps 5 --eval.every 0"
        )
        done = subprocess.run(
            [sys.executable, "-m", "neogpt", *command.split()], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        rows = ledger.read(tmp_path / device / "metrics.jsonl")
        losses[device] = [row["loss"] for row in rows if "loss" in row]
    assert losses["mps"] == pytest.approx(losses["cpu"], abs=1e-3)
