"""What `neogpt doctor` looks at: one function is one line or a few; `examine` calls them in order."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neogpt import atomic, hardware
from neogpt.paths import cache_dir, is_offline, local_data

_OLDEST, _FSYNC_S = (3, 11), 1.0
_FREE_BYTES, _RAM_BYTES = {"fail": 1e9, "warn": 20e9}, {"fail": 1e9, "warn": 4e9}
_EARLIEST = 1_704_067_200  # 2024-01-01: an earlier clock breaks certificates and the order of checkpoints
_EXTRAS = {"data": "pyarrow", "plot": "matplotlib", "track": "tensorboard", "hf": "transformers"}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to type."""

    check: str
    state: Literal["ok", "warn", "fail"]
    text: str
    hint: str = ""


Findings = Iterator[Finding]


def python() -> Findings:
    """The interpreter is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] >= _OLDEST
    yield Finding("python", "ok" if good else "fail", version, "" if good else "install Python 3.11 or newer")


def torch() -> Findings:
    """PyTorch is there and fits the hardware."""
    try:
        import torch  # start-up time
    except Exception as error:  # a broken build fails in many ways
        text = f"cannot be imported: {error}"
        yield Finding("torch", "fail", text, "install it as https://pytorch.org/get-started/locally says")
        return
    cuda = getattr(torch.version, "cuda", None) or getattr(torch.version, "hip", None)
    yield accelerator(torch.__version__, cuda, torch.cuda.is_available(), gpus_here())
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding("gpu", "ok", f"{len(names)} x {names[0]}")
        native = torch.cuda.is_bf16_supported()
        hint = (
            ""
            if native
            else "--dtype float32 is what it will use: expect half the speed and twice the memory"
        )
        yield Finding("bfloat16", "ok" if native else "warn", "native" if native else "not on this GPU", hint)
        return
    native = hardware.multiplies_bfloat16()
    yield Finding(
        "bfloat16", "ok", "native on this processor" if native else "not here: float32 will be used"
    )


def accelerator(version: str, cuda: str | None, found: bool, here: bool) -> Finding:
    """Whether the build of PyTorch and the GPUs of the machine go together."""
    text = f"{version}, {f'built for {cuda}' if cuda else 'CPU build'}"
    if found or (not here and cuda is None):
        return Finding("torch", "ok", text)
    if here and cuda is None:
        hint = "pip install --force-reinstall torch, with the CUDA line of https://pytorch.org/get-started/locally"
        return Finding("torch", "fail", f"{text}, but this machine has a GPU", hint)
    if here:
        return Finding("torch", "fail", f"{text}, but it cannot use the GPU that is here", "nvidia-smi")
    hint = "works on the processor; the CPU build is smaller"
    return Finding("torch", "warn", f"{text}, but there is no GPU", hint)


def gpus_here() -> bool:
    """Whether a driver shows a GPU, whatever PyTorch thinks of it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def compiler() -> Findings:
    """torch.compile needs a C++ compiler."""
    found = shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++")
    hint = "" if found else "apt install g++, or train with --compile False"
    yield Finding("compiler", "ok" if found else "warn", found or "no C++ compiler for --compile True", hint)


def threads() -> Findings:
    """Cores, and whether OMP_NUM_THREADS or a container's limit contradicts them."""
    cores, seen, wanted = hardware.cores(), os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS", "")
    text = f"{cores:g} cores" + (f" of {seen}" if cores < seen else "")
    text += f", OMP_NUM_THREADS={wanted}" if wanted else ""
    if wanted and (not wanted.isdigit() or int(wanted) < 1):
        yield Finding("threads", "fail", text, "unset OMP_NUM_THREADS")
    elif wanted and int(wanted) > cores:
        yield Finding(
            "threads", "warn", f"{text}: more threads than cores", f"OMP_NUM_THREADS={max(1, int(cores))}"
        )
    elif cores < seen:
        hint = f"--threads {max(1, int(cores))}: a run takes all {seen} unless told"
        yield Finding("threads", "warn", text, hint)
    else:
        yield Finding("threads", "ok", text)


def memory() -> Findings:
    """RAM that is free."""
    free, whole = hardware.available_ram_bytes(), hardware.ram_bytes()
    text = f"{free / 1e9:.1f} GB free of {whole / 1e9:.1f} GB"
    yield _enough("memory", free, _RAM_BYTES, text, "close something, or see `neogpt plan RECIPE --on cpu`")


def tokenizer() -> Findings:
    """GPT-2's vocabulary is on this disk, and is OpenAI's byte for byte."""
    from neogpt.tokenizer.gpt2_files import SHA256  # start-up time

    data, cached = local_data(), cache_dir() / "tokenizer" / "gpt2"
    for folder in [*([data / "tokenizer"] if data else []), cached]:
        here = [name for name in SHA256 if (folder / name).is_file()]
        wrong = [name for name in here if atomic.sha256_file(folder / name) != SHA256[name]]
        if wrong:
            text = f"{folder}: {', '.join(wrong)} is not OpenAI's, its sha256 differs"
            yield Finding("tokenizer", "fail", text, f"rm {' '.join(str(folder / name) for name in wrong)}")
            return
        if len(here) == len(SHA256):
            yield Finding("tokenizer", "ok", f"GPT-2's, sha256 as published, in {folder}")
            return
    text = "GPT-2's is not on this disk"
    if is_offline():
        hint = f"put {' and '.join(SHA256)} into {cached}, or train your own: neogpt tokenizer train"
        yield Finding("tokenizer", "warn", f"{text}, and the network is forbidden", hint)
    else:
        yield Finding("tokenizer", "ok", f"{text}; it is downloaded when it is first needed")


def folders(run: Path) -> Findings:
    """The cache and the run's folder take a file, flush it and have room."""
    yield from _folder("cache", cache_dir())
    yield from _folder("runs", run)


def _folder(name: str, folder: Path) -> Findings:
    """Writing happens in the nearest folder that is there, so that a look leaves nothing behind."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".neogpt-doctor-") as scratch:
            began = time.perf_counter()
            atomic.write_bytes(Path(scratch) / "probe", b"x" * 2**20)
            seconds = time.perf_counter() - began
    except OSError as error:
        hint = (
            "NEOGPT_HOME=DIR" if name == "cache" else "--run DIR, where DIR is a folder that you may write to"
        )
        yield Finding(name, "fail", f"{folder}: {error.strerror or error}", hint)
        return
    slow = seconds > _FSYNC_S
    hint = "a local disk makes checkpoints quick" if slow else ""
    yield Finding(
        name, "warn" if slow else "ok", f"{folder}: 1 MB written and flushed in {seconds * 1e3:.0f} ms", hint
    )
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free at {there}"
    yield _enough(f"{name} disk", free, _FREE_BYTES, text, "`neogpt plan RECIPE` says how much a run needs")


def _enough(name: str, found: float, needed: dict[str, float], text: str, hint: str) -> Finding:
    if found < needed["fail"]:
        return Finding(name, "fail", text, hint)
    return Finding(name, "warn", text, hint) if found < needed["warn"] else Finding(name, "ok", text)


def environment() -> Findings:
    """Switches that change where things come from, and a folder of data that is named but absent."""
    switches = ("NEOGPT_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    on = [name for name in switches if os.environ.get(name, "0").lower() not in ("", "0", "false")]
    text = f"offline: {', '.join(on)} set, nothing is downloaded" if on else "online: downloads are allowed"
    yield Finding("network", "ok", text)
    value = os.environ.get("NEOGPT_DATA")
    if value and local_data() is None:
        yield Finding("NEOGPT_DATA", "warn", f"{value} is no folder", "unset NEOGPT_DATA, or make the folder")


def extras() -> Findings:
    """Optional dependencies."""
    missing = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module) is None]
    text = f"missing: {', '.join(missing)}" if missing else f"all there: {', '.join(_EXTRAS)}"
    hint = f"pip install '.[{','.join(missing)}]'" if missing else ""
    yield Finding("extras", "warn" if missing else "ok", text, hint)


def clock() -> Findings:
    """The date is not of long ago."""
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    good = now > _EARLIEST
    yield Finding(
        "clock", "ok" if good else "fail", text, "" if good else "set the clock: timedatectl set-ntp true"
    )


def examine(run: Path) -> list[Finding]:
    """Every line, in order; a check that breaks is itself a finding."""
    checks: list[Callable[[], Findings]] = [
        python,
        torch,
        compiler,
        threads,
        memory,
        tokenizer,
        lambda: folders(run),
        environment,
        extras,
        clock,
    ]
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except Exception as error:  # a doctor who faints helps nobody
            found.append(
                Finding(check.__name__, "fail", f"could not be checked: {type(error).__name__}: {error}")
            )
    return found
