"""Contenders that train in turn, each in a process of its own: what pretraining.py and post_training.py share.

A contender is a process of a script (the spec's `script`) that waits at a `Gate` of _contenders.py.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECK_STEPS, TOLERANCE = 5, 1e-4


class Worker:
    """A contender's process; its words go to a log file."""

    def __init__(self, name: str, spec: Any, log: Path) -> None:
        self.name, self.log = name, log
        file = Path(spec.folder) / f"{spec.dtype}.json"
        file.write_text(json.dumps(dataclasses.asdict(spec)))
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(spec.threads)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / spec.script), name, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=environment,
        )
        self.imported = self._answer()["imported"]

    def take(self, steps: int) -> dict[str, Any]:
        """So many steps: seconds by both clocks, losses, and the peak of memory up to now."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-15:])
            raise SystemExit(f"{self.name} ended:\n{tail}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def started(names: list[str], spec: Any) -> Iterator[list[Worker]]:
    """A process for each name, built one after the other; they end with the block."""
    workers: list[Worker] = []
    try:
        for name in names:
            workers.append(Worker(name, spec, Path(spec.folder) / f"{name}-{spec.dtype}.log"))
        yield workers
    finally:
        for worker in workers:
            worker.close()


def coincide(names: list[str], spec: Any) -> dict[str, list[float]]:
    """Five steps in float32 of every contender, one after the other; an error where the losses differ."""
    losses = {}
    for name in names:
        with started([name], spec) as (worker,):
            losses[name] = worker.take(CHECK_STEPS)["losses"]
        print(f"  {name:<17} losses {' '.join(f'{loss:.6f}' for loss in losses[name])}", flush=True)
    apart = max(abs(a - b) for row in losses.values() for a, b in zip(row, losses["neogpt"], strict=True))
    print(f"  float32: largest difference {apart:.1e}", flush=True)
    if not apart <= TOLERANCE:
        raise SystemExit(f"the losses differ by {apart:.1e}, more than {TOLERANCE}: not the same training")
    return losses


def race(names: list[str], spec: Any, steps: int, rounds: int, clock: str) -> list[dict[str, Any]]:
    """Turns of some contenders: seconds a step, losses and peak memory of each."""
    found: list[dict[str, Any]] = [{"name": name, "seconds": [], "losses": []} for name in names]
    with started(names, spec) as workers:
        for number in range(rounds + 1):
            for worker, row in zip(workers, found, strict=True):
                turn = worker.take(steps)
                row["losses"] += turn["losses"]
                if number:
                    row["seconds"].append(turn[clock] / steps)
                row["peak"], row["imported"] = turn["peak"], worker.imported
    return found


def beside(
    ours: dict[str, Any], other: dict[str, Any], amount: float, unit: str = "tokens"
) -> dict[str, Any]:
    """A row of the table: speed (a step has `amount` units), ratio to NeoGPT round by round, memory."""
    ratios = sorted(b / a for a, b in zip(ours["seconds"], other["seconds"], strict=True))
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "name": other["name"],
        f"{unit}_per_s": amount / statistics.median(other["seconds"]),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "peak_bytes": other["peak"],
        "imported_bytes": other["imported"],
        "memory_ratio": other["peak"] / ours["peak"],
        "loss_difference": max(abs(a - b) for a, b in zip(ours["losses"], other["losses"], strict=True)),
        "seconds": other["seconds"],
    }


def show(line: dict[str, Any], share: float = 0.0, unit: str = "tokens") -> None:
    """One line of the table; `share`: of the peak arithmetic, where that is known."""
    low, high = line["ratio_quartiles"]
    speed = line[f"{unit}_per_s"]
    print(
        f"  {line['name']:<17} {speed:>10,.{0 if speed > 100 else 2}f} {unit}/s   neogpt is {line['ratio']:.2f} x"
        f" ({low:.2f} to {high:.2f})   {line['peak_bytes'] / 2**20:>6,.0f} MiB at the peak"
        f" ({line['memory_ratio']:.2f} x neogpt's)   losses within {line['loss_difference']:.1e}"
        + (f"   MFU {share:.1%}" if share else ""),
        flush=True,
    )


def machine(options: argparse.Namespace, packages: Iterable[str]) -> dict[str, Any]:
    """What the figures depend on."""
    import importlib.metadata

    import torch

    from neogpt.train.device import _cpu_name

    versions = {}
    for package in ["torch", *packages]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else None,
        "python": platform.python_version(),
        "versions": versions,
        "options": {k: v for k, v in vars(options).items() if k not in ("text", "json", "model", "alone")},
    }
