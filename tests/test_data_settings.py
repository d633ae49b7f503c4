"""`neogpt data prepare` and a run's own preparation: settings that cannot work, and what one finds of the other."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from data_helpers import content, texts, tokenizer, write_jsonl
from training import ROOT

from neogpt import hardware
from neogpt.cli import _train, data
from neogpt.cli.main import main
from neogpt.data import prepare, workers
from neogpt.paths import cache_dir

SMALL = """--threads 1 --dtype float32 --device cpu --model.n-layer 1 --model.n-head 1 --model.n-embd 8 --steps 1
 --model.n-positions 16 --objective.seq-len 16 --batch.size 8 --eval.names --trackers none"""
DATA = "--data.val-fraction 0.1 --data.shard-tokens 2500"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts, a tokenizer, and a cache of its own."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))
    for i in range(3):
        write_jsonl(tmp_path / "in" / f"{i}.jsonl", [*texts(60, seed=i), "plum bread " * 200_000])
    tokenizer().save(tmp_path / "words")
    return tmp_path


def flags(folder: Path) -> list[str]:
    return [f"--source.path={folder / 'in'}", f"--data.tokenizer={folder / 'words'}", *DATA.split()]


def pretrain(folder: Path, name: str = "run") -> int:
    return main(["pretrain", "laptop", "--run", str(folder / name), *flags(folder), *SMALL.split()])


def prepared() -> Path:
    (found,) = (path.parent for path in (cache_dir() / "data").glob("*/MANIFEST.json"))
    return found


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--executor ray --tasks 0", ["--tasks 0", "from 1 up", "--tasks 16"]),
        ("--tasks -2", ["--tasks -2"]),
        ("--workers -1", ["--workers -1", "from 0 up", "--workers 0"]),
        ("--memory-gb 0", ["--memory-gb 0", "above 0"]),
        ("--executor slurm", ["--partition NAME"]),
    ],
)
def test_what_cannot_work_is_refused_before_the_hub_is_asked(
    flags: str, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: Any) -> None:
        pytest.fail("the Hub was asked")

    monkeypatch.setattr("neogpt.data.sources._hub_stream.listing", asked)
    monkeypatch.setattr("neogpt.data.sources._hub_stream.commit", asked)
    assert main(["data", "prepare", "fineweb-edu", *flags.split()]) == 2
    shown = capsys.readouterr().err
    assert all(part in shown for part in said), shown


def test_a_run_finds_what_was_prepared_into_the_same_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/data.md has it: one NEOGPT_HOME, the same settings, and nothing is prepared a second time."""
    assert main(["data", "prepare", "files", *flags(folder)]) == 0

    def again(*_: Any, **__: Any) -> None:
        pytest.fail("prepared again")

    monkeypatch.setattr(prepare, "_make", again)
    assert pretrain(folder) == 0


def test_the_spot_task_prepares_what_its_recipes_read(tmp_path: Path) -> None:
    """Its setup, run with commands that stand in for the real ones, against the settings of each recipe."""
    setup = yaml.safe_load((ROOT / "launch" / "skypilot.yaml").read_text())["setup"]
    for name in ("python3", "venv/bin/pip", "venv/bin/neogpt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('#!/bin/sh\necho "$@" >> "$HOME/said"\n')
        (tmp_path / name).chmod(0o755)
    for recipe in _train.recipes("pretrain"):
        environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin", "RECIPE": recipe}
        subprocess.run(["bash", "-c", setup], env=environment, check=True)
        last = (tmp_path / "said").read_text().splitlines()[-1].split()
        if recipe.startswith("gpt2-"):
            run, prepares = _train.recipe("pretrain", recipe), data._settings(last[2:])
            assert (last[:2], last[2]) == (["data", "prepare"], run.source.kind)
            assert (prepares.source, prepares.data) == (run.source, run.data)
        else:
            assert last[0] == "doctor"


def test_a_run_prepares_with_as_many_processes_as_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the bytes are those of one process."""
    assert (
        main(["data", "prepare", "files", *flags(folder), "--workers", "1", "--out", str(folder / "one")])
        == 0
    )
    sizes = []

    class Seen(workers.Pool[Any]):
        def __init__(self, size: int, *more: Any) -> None:
            sizes.append(size)
            super().__init__(size, *more)

    monkeypatch.setattr(workers, "Pool", Seen)
    monkeypatch.setattr(workers, "_WORKER_BYTES", 1 << 20)
    monkeypatch.setattr(hardware, "cores", lambda: 2.5)
    assert pretrain(folder) == 0
    assert sizes == [2]
    assert content(prepared()) == content(folder / "one")
