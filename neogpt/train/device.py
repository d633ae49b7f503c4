"""What the machine decides about a run, decided once, before the run starts, and written into its config."""

import contextlib
import ctypes
import dataclasses
import os
import platform
import sys
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from neogpt import hardware
from neogpt.config import AnyRun
from neogpt.errors import ConfigError
from neogpt.version import __version__

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def resolve(run: AnyRun, local_world_size: int = 1) -> AnyRun:
    """The same run with `auto` device and dtype and 0 threads replaced by what this machine has."""
    device = pick_device(run.device)
    threads = run.threads or max(1, (os.cpu_count() or 1) // local_world_size)
    dtype = _dtype(device) if run.dtype == "auto" else run.dtype
    return dataclasses.replace(run, device=device, dtype=dtype, threads=threads)


def pick_device(wanted: str) -> str:
    """`wanted`, or for `auto` the best that is here; ConfigError when it is not."""
    if wanted == "auto":
        mps = torch.backends.mps.is_available()
        return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError as error:
        raise ConfigError(
            f"{wanted!r} is no device",
            "cpu, cuda, cuda:0, mps",
            "--device auto",
            code="config.no_such_device",
        ) from error
    if kind not in ("cpu", "cuda", "mps"):
        raise ConfigError(
            f"{wanted!r} is no device for training here",
            "cpu, cuda, cuda:0, mps",
            "--device auto",
            code="config.no_such_device",
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            "device mps was asked for, but PyTorch finds no Apple GPU",
            "a device that is here",
            "--device cpu",
            code="config.device_not_here",
        )
    if kind == "cuda" and not torch.cuda.is_available():
        build = "this PyTorch is a CPU build" if torch.version.cuda is None else "PyTorch finds no GPU"
        raise ConfigError(
            f"device {wanted} was asked for, but {build}",
            "a device that is here",
            "--device cpu",
            code="config.device_not_here",
        )
    return wanted


def _dtype(device: str) -> Literal["float32", "bfloat16"]:
    """bfloat16 where the hardware multiplies it natively, else float32."""
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device == "cpu" and _multiplies_bfloat16() else "float32"


def _multiplies_bfloat16() -> bool:
    """Whether this processor does it natively: PyTorch's word, or that of Linux before PyTorch has one (2.13)."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return hardware.multiplies_bfloat16()
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def autocast(run: AnyRun) -> AbstractContextManager[Any]:
    """Matrix products in the run's dtype; weights, sums and softmax stay float32."""
    if run.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(run.device).type, torch.bfloat16)


def keep_freed_memory() -> None:
    """Let what a step frees stay with this process for the next one; nothing outside Linux's C library.

    By default memory of some megabytes goes back to the system at once, and each step waits while the system clears
    the same gigabytes again: a fifth of the time of GPT-2 124M on two cores. The peak stays what it is. Left alone
    where the user has set one of the library's own variables, MALLOC_TRIM_THRESHOLD_ or another.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def versions() -> dict[str, str]:
    """Of this package and of torch."""
    return {"neogpt": __version__, "torch": torch.__version__}


def describe(run: AnyRun) -> dict[str, Any]:
    """The machine and the versions, for the events ledger."""
    gpu = torch.cuda.get_device_name() if run.device.startswith("cuda") else None
    return {
        **versions(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": run.threads,
        "gpu": gpu,
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
