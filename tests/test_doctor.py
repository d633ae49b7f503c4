"""`neogpt doctor`: each thing is broken in turn, and its line must say so and what to type."""

import json
import os
import shutil
import sys
import time
import types
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from neogpt import hardware
from neogpt.cli import _doctor
from neogpt.cli._doctor import Findings, accelerator, examine
from neogpt.cli.main import main


def only(findings: Findings, check: str = "") -> _doctor.Finding:
    """The one finding of a check."""
    (found,) = [finding for finding in findings if not check or finding.check == check]
    return found


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, disk and a PyTorch for the hardware as they should be, whatever this machine has just now."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**12))
    monkeypatch.setattr(hardware, "available_ram_bytes", lambda: 10**11)
    monkeypatch.setattr(_doctor, "gpus_here", lambda: False)


@pytest.mark.usefixtures("roomy")
def test_a_machine_that_runs_these_tests_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--run", str(tmp_path / "new" / "runs"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["check"] for row in found} >= {
        "python",
        "torch",
        "threads",
        "tokenizer",
        "cache",
        "runs",
        "clock",
    }
    assert not (tmp_path / "new").exists(), "a look left something behind"
    assert all(row["hint"] for row in found if row["state"] != "ok")


@pytest.mark.usefixtures("roomy")
def test_exit_code_and_count_say_that_something_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["doctor", "--run", str(tmp_path / "file")]) == 1
    shown = capsys.readouterr().out
    assert "fail  runs" in shown
    assert "1 broken" in shown


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_refuses(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    found = only(_doctor._folder("runs", tmp_path / "runs"))
    tmp_path.chmod(0o700)
    assert (found.state, "Permission denied" in found.text) == ("fail", True)
    assert "--run DIR" in found.hint


def test_a_disk_that_refuses_to_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    found = only(_doctor._folder("cache", tmp_path))
    assert (found.state, found.hint) == ("fail", "NEOGPT_HOME=DIR")
    assert "Input/output error" in found.text


def test_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 3.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    found = only(_doctor._folder("runs", tmp_path), "runs")
    assert (found.state, "3000 ms" in found.text) == ("warn", True)


@pytest.mark.parametrize(("free", "state"), [(5e8, "fail"), (5e9, "warn"), (5e10, "ok")])
def test_a_full_disk(free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1e12, 1e12 - free, free))
    assert only(_doctor._folder("runs", tmp_path), "runs disk").state == state


@pytest.mark.parametrize(("free", "state"), [(5e8, "fail"), (3e9, "warn"), (5e10, "ok")])
def test_little_memory(free: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "available_ram_bytes", lambda: int(free))
    assert only(_doctor.memory()).state == state


def test_a_wrong_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that a proxy replaced by its login page."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path))
    monkeypatch.delenv("NEOGPT_DATA", raising=False)
    folder = tmp_path / "tokenizer" / "gpt2"
    folder.mkdir(parents=True)
    (folder / "vocab.bpe").write_text("<html>")
    found = only(_doctor.tokenizer())
    assert found.state == "fail"
    assert found.hint == f"rm {folder / 'vocab.bpe'}"


def test_no_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path))
    monkeypatch.delenv("NEOGPT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert only(_doctor.tokenizer()).state == "warn"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert only(_doctor.tokenizer()).state == "ok"


def test_the_right_vocabulary(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOGPT_DATA", str(real_data))
    assert "sha256 as published" in only(_doctor.tokenizer()).text


@pytest.mark.parametrize(
    ("cuda", "found", "here", "state", "said"),
    [
        (None, False, False, "ok", "CPU build"),
        ("12.8", True, True, "ok", "built for 12.8"),
        (None, False, True, "fail", "has a GPU"),
        ("12.8", False, True, "fail", "cannot use the GPU"),
        ("12.8", False, False, "warn", "there is no GPU"),
    ],
)
def test_the_build_of_torch_and_the_hardware(
    cuda: str | None, found: bool, here: bool, state: str, said: str
) -> None:
    finding = accelerator("2.13.0", cuda, found, here)
    assert finding.state == state
    assert said in finding.text
    assert bool(finding.hint) == (state != "ok")


def test_a_broken_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = only(_doctor.torch())
    assert (found.state, "pytorch.org" in found.hint) == ("fail", True)


def test_a_gpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        get_device_name=lambda i: "Tesla T4",
        device_count=lambda: 2,
        is_bf16_supported=lambda: False,
    )
    fake: Any = types.ModuleType("torch")
    fake.__version__, fake.version, fake.cuda = "2.13.0+cu128", types.SimpleNamespace(cuda="12.8"), cuda
    monkeypatch.setitem(sys.modules, "torch", fake)
    found = {finding.check: finding for finding in _doctor.torch()}
    assert found["gpu"].text == "2 x Tesla T4"
    assert found["bfloat16"].state == "warn"


@pytest.mark.parametrize(
    ("wanted", "cores", "state"),
    [("", 4.0, "ok"), ("2", 4.0, "ok"), ("16", 4.0, "warn"), ("many", 4.0, "fail"), ("", 1.5, "warn")],
)
def test_threads(wanted: str, cores: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert only(_doctor.threads()).state == state


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    assert only(_doctor.compiler()).state == "warn"


def test_missing_extras_are_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "_EXTRAS", {"data": "pyarrow", "plot": "no_such_module"})
    found = only(_doctor.extras())
    assert (found.state, found.hint) == ("warn", "pip install '.[plot]'")


def test_switches_and_folders_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NEOGPT_DATA", "/no/such/folder")
    found = {finding.check: finding for finding in _doctor.environment()}
    assert "HF_HUB_OFFLINE" in found["network"].text
    assert found["NEOGPT_DATA"].state == "warn"


def test_a_clock_of_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert only(_doctor.clock()).state == "fail"


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Findings:
        raise RuntimeError("surprise")

    monkeypatch.setattr(_doctor, "clock", broken)
    last = examine(tmp_path)[-1]
    assert (last.state, "surprise" in last.text) == ("fail", True)
