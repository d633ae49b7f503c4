"""Hardware: the cores and the memory that this process may use, and what GPUs are able to do by their data sheets."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60

PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A40": 150e12,
    "RTX A6000": 155e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 4080": 97e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
    "MI250X": 383e12,
}
"""Dense bfloat16 peak (summed in float32) by GPU name, from the makers' data sheets; the first that fits counts."""


def cores(cgroup: Path = _CGROUP) -> float:
    """Processor cores that this process may use: its affinity, or its container's share where that is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(float(allowed), cgroup_cores(cgroup) or float(allowed))


def cgroup_cores(cgroup: Path = _CGROUP) -> float | None:
    """The container's share of the processor in cores; None without a limit."""
    quota, _, period = (_read(cgroup / "cpu.max") or "max").partition(" ")
    if quota == "max":  # version 1 of the same
        quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us") or "-1"
        period = _read(cgroup / "cpu" / "cpu.cfs_period_us") or "100000"
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except ValueError:
        return None


def ram_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory of the machine, or of the container where that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = _windows_memory()[0]
    return min(total, cgroup_ram_bytes(cgroup) or total)


def cgroup_ram_bytes(cgroup: Path = _CGROUP) -> int | None:
    """The container's memory limit; None without one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(cgroup / name)
        if text and text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return None


def available_ram_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that is free or can be freed."""
    free = ram_bytes(cgroup)
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            free = min(free, int(line.split()[1]) * 1024)
    free = min(free, _windows_memory()[1] or free)
    limit, used = cgroup_ram_bytes(cgroup), _read(cgroup / "memory.current")
    if limit is not None and used and used.isdigit():
        free = min(free, max(0, limit - int(used)))
    return free


def _windows_memory() -> tuple[int, int]:
    """Bytes of the whole memory and of what is free, from Windows' GlobalMemoryStatusEx; zeros elsewhere."""
    import ctypes  # start-up time: most never need it

    system = getattr(ctypes, "windll", None)
    if not system:
        return 0, 0
    status = (ctypes.c_uint64 * 8)(64)  # MEMORYSTATUSEX: its own size in bytes, the whole, the free, ...
    system.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status[1], status[2]


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively (x86, Linux)."""
    return "avx512_bf16" in (_read(Path("/proc/cpuinfo")) or "")


def peak_flops(name: str) -> float:
    """The peak of the GPU of this name (as its driver gives it); 0 for one that is not known."""
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), 0.0)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return None
