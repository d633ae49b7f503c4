"""`neogpt plan`: what it prints, time and disk against simulation, and the errors that name what to type."""

import ctypes
import json
import os
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from training import ROOT

from neogpt import batching, hardware
from neogpt.cli.main import main
from neogpt.model import sizes
from neogpt.paths import RunDir
from neogpt.plan import devices, memory
from neogpt.plan.memory import Work


def plan(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main(["plan", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_published_run(capsys: pytest.CaptureFixture[str]) -> None:
    """124M on 10B tokens: 859.9 MFLOP a token and so 8.6e18 in all; the speed is 40 % of 8 x 989 TFLOP/s."""
    found = plan(capsys, "gpt2-124m", "--on", "h100", "--gpus", "8", "--price", "3")
    assert (found["params"], found["flops_per_token"]) == (124_439_808, 859_885_056)
    assert found["budget"]["steps"] == 19073
    assert found["budget"]["data_bytes"] == 2 * 19073 * 524_288
    (device,) = found["devices"]
    by_hand = 859_885_056 * 19073 * 524_288 / (8 * 989e12 * 0.4)
    assert by_hand < device["seconds"] < 1.04 * by_hand  # the held-out loss is counted too
    assert device["dollars"] == pytest.approx(device["seconds"] / 3600 * 8 * 3)
    assert sum(found["memory"]["parts"].values()) == max(found["memory"]["moments"].values())


def test_data_is_the_whole_source_and_its_peak(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/data.md: 14 files of 2 GB, ten billion tokens of two bytes, and as much again until the shuffle is done."""
    fast = plan(capsys, "gpt2-124m-fast")
    assert fast["data"] == {"tokens": 10_000_000_000, "download_bytes": 28_000_000_000}
    assert fast["budget"]["data_bytes"] < 12.6e9  # that is read
    assert main(["plan", "gpt2-124m"]) == 0
    shown = capsys.readouterr().out
    for part in ("20.00 GB of shards", "28.00 GB of downloads", "68.00 GB at most"):
        assert part in shown
    larger = plan(capsys, "gpt2-124m", "--source.name", "sample-100BT")
    assert larger["data"]["tokens"] == 10 * fast["data"]["tokens"]


@pytest.mark.parametrize(
    "args",
    [
        ["laptop"],
        ["gpt2-124m", "--source.path", "a-folder"],
        ["gpt2-124m", "--source.name", "CC-MAIN-2024-10"],
        ["gpt2-124m", "--data.tokenizer", "trained"],
    ],
)
def test_data_of_unknown_size_is_said_in_words(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *args]) == 0
    assert "the whole source is prepared: two bytes a token, and as much again" in capsys.readouterr().out


def test_the_recipes_own_flags_count(capsys: pytest.CaptureFixture[str]) -> None:
    whole = plan(capsys, "gpt2-124m", "--on", "rtx-4090")
    less = plan(
        capsys, "gpt2-124m", "--on", "rtx-4090", "--tokens", "1000000000", "--batch.micro-batches", "32"
    )
    assert less["budget"]["steps"] == 1907
    assert less["memory"]["parts"]["activations"] < 0.55 * whole["memory"]["parts"]["activations"]
    muon = plan(capsys, "gpt2-124m", "--optim.name", "muon")
    assert muon["memory"]["parts"]["optimizer"] < whole["memory"]["parts"]["optimizer"]
    faster = plan(capsys, "gpt2-124m", "--on", "rtx-4090", "--mfu", "0.8")
    assert faster["devices"][0]["seconds"] == pytest.approx(whole["devices"][0]["seconds"] / 2)


def test_every_recipe_fits_an_eighty_gigabyte_node_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("gpt2-124m", "gpt2-124m-fast", "gpt2-355m", "gpt2-774m", "gpt2-1.5b"):
        (device,) = plan(capsys, name, "--on", "h100", "--gpus", "8")["devices"]
        assert device["fits"], name


def test_text_has_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "gpt2-355m"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "354,823,168",
        "6 N + 12 L D T",
        "checkpointed",
        "activations",
        "optimizer",
        "peak",
        "assumptions",
    ):
        assert word in shown
    assert all(name in shown for name in devices.DEVICES if name != "cpu")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "needs a recipe"),
        (["gpt2-124m", "--on", "h10"], "did you mean h100"),
        (["gpt2-124m", "--gpus", "3"], "1, 2, 4, 8, 16 processes"),
        (["gpt2-124m", "--hours", "8"], "--steps or --tokens"),
        (["gpt2-124m", "--gpus", "0"], "from 1 up"),
        (["gpt2-124m", "--mfu", "40"], "between 0 and 1"),
        (["gpt2-124m", "--batch.micro-batches", "7"], "7 micro-batches"),
        (["gpt2-124m", "--steps", "0", "--tokens", "0"], "a horizon"),
        (["gpt2-42m"], "gpt2-124m"),
        (["sft-dolly"], "pretrain"),
    ],
)
def test_errors_say_what_to_type(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *args]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("gpus", ["3", "5", "6", "12"])
@pytest.mark.parametrize("more", [[], ["--batch.size", "480"], ["--reduction", "fast"]])
def test_what_it_says_to_type_works(gpus: str, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = ["plan", "gpt2-124m", "--gpus", gpus, *more]
    assert main(line) == 2
    said = capsys.readouterr().err.rpartition("try: ")[2]
    assert main([*line, *said.split()]) == 0, said


def test_it_is_quick_because_torch_stays_out() -> None:
    code = "import sys; from neogpt.cli.main import main; main(['plan', 'gpt2-124m']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split()[-1] == "False"


# Arithmetic


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_the_fewest_micro_batches_are_the_first_that_fit(gpus: int) -> None:
    """Against trying them all, for a range of limits."""
    config = sizes.GPT2Config(n_layer=2, n_head=2, n_embd=64, n_positions=64, vocab_size=512)

    def peak(total: int) -> int:
        return memory.memory_of(Work(config, 48 // total, 64, total // gpus, gpus)).peak

    can = [m for m in range(1, 49) if 48 % m == 0 and batching.fits(m, gpus)]
    work = Work(config, 1, 64, 1, gpus)
    for limit in range(8_000_000, 40_000_000, 1_000_000):
        found = memory.fewest_micro_batches(work, 48, limit)
        assert found == next((m for m in can if peak(m) <= limit), 0)


def test_checkpoint_bytes_are_those_on_disk(bases: dict[str, Path]) -> None:
    folder = RunDir(bases["pretrain"]).checkpoint(12)
    facts = json.loads((folder / "trainer.json").read_text())["config"]["model"]
    config = sizes.GPT2Config(**facts)
    said = 4 * sizes.n_params(config) + memory.optimizer_bytes(Work(config, 1, 1, 1))
    held = sum((folder / name).stat().st_size for name in ("model.safetensors", "trainer.safetensors"))
    assert said == pytest.approx(held, rel=0.1)  # at this size the names of the tensors are a twentieth


# Machine


def test_a_containers_limits_are_the_machines(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    assert hardware.cgroup_cores(tmp_path) == 1.5
    assert hardware.cores(tmp_path) <= 1.5
    assert hardware.ram_bytes(tmp_path) == 2**30
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    assert hardware.available_ram_bytes(tmp_path) == 2**29


def test_no_limits_is_the_whole_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (hardware.cgroup_cores(tmp_path), hardware.cgroup_ram_bytes(tmp_path)) == (None, None)
    assert hardware.cores(tmp_path) >= 1
    assert hardware.ram_bytes(tmp_path) >= hardware.available_ram_bytes(tmp_path) > 0


def test_memory_is_what_windows_says_where_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its MEMORYSTATUSEX: two words of 4 bytes, the first its own size, then sizes of 8 bytes."""

    class Kernel:
        @staticmethod
        def GlobalMemoryStatusEx(pointer: Any) -> int:
            status = pointer._obj
            assert ctypes.sizeof(status) == int.from_bytes(bytes(status)[:4], sys.byteorder) == 64
            whole = struct.pack("=IIQQ", 64, 50, 16 * 2**30, 5 * 2**30)
            ctypes.memmove(status, whole, len(whole))
            return 1

    system = types.SimpleNamespace(kernel32=Kernel)
    monkeypatch.setattr(ctypes, "windll", system, raising=False)
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(hardware, "_read", lambda path: None)
    assert hardware.ram_bytes(tmp_path) == 16 * 2**30
    assert hardware.available_ram_bytes(tmp_path) == 5 * 2**30
    monkeypatch.delattr(ctypes, "windll")
    assert hardware.ram_bytes(tmp_path) == 0


def test_version_one_of_the_limits(tmp_path: Path) -> None:
    for folder, name, text in (
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("memory", "memory.limit_in_bytes", "12345678"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    assert (hardware.cgroup_cores(tmp_path), hardware.cgroup_ram_bytes(tmp_path)) == (0.5, 12345678)


def test_gpus_are_known_by_the_names_their_drivers_give() -> None:
    assert hardware.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert (
        hardware.peak_flops("NVIDIA A100-SXM4-40GB") == hardware.peak_flops("NVIDIA A100 80GB PCIe") == 312e12
    )
    assert hardware.peak_flops("NVIDIA GeForce RTX 4090") == 165e12
    assert hardware.peak_flops("Unheard Of") == 0.0
