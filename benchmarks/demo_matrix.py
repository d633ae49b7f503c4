"""Does `neogpt demo` end well on other machines? Seeds, kernels, precisions and threads, every pair of values.

    python benchmarks/demo_matrix.py --runs 40          # goes on where it was; --table alone prints what is there

Another processor is imitated: `ONEDNN_MAX_CPU_ISA` holds oneDNN to the instructions of an older one, and
`ATEN_CPU_CAPABILITY` PyTorch's own kernels, so sums are rounded otherwise. bfloat16 is left out under AVX2, where it
is twenty times slower and no machine's default. Each finished demo is one line of the results file, with the
processor it ran on: a second machine adds its lines to the same file.
"""

import argparse
import itertools
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from neogpt import ledger
from neogpt.paths import RunDir

STAGES = ("pretrain", "sft", "dpo", "rl", "dpo-red-team")
LOW_IS_GOOD = ("over_refusal", "degenerate")
RESULTS = Path(__file__).parent / "results" / "demo-matrix.jsonl"
ISA = {
    "AVX2": "avx2",
    "AVX512_CORE": "avx512f",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_AMX": "amx_bf16",
}
"""oneDNN's names of instruction sets, each with the processor flag that it needs."""


@dataclass(frozen=True)
class Case:
    """One demo: its seed and the machine that is imitated."""

    seed: int
    isa: str
    aten: str
    dtype: str
    threads: int


def cases(flags: frozenset[str], n: int) -> list[Case]:
    """At least `n` cases which together have every pair of values that can be had, in a fixed order.

    What brings as many new pairs as another gives way where it computes in bfloat16 without the instructions for it.
    """
    isas = [name for name, flag in ISA.items() if flag in flags] or [""]
    every = [
        Case(seed, isa, aten, dtype, threads)
        for seed in range(5)
        for isa in isas
        for aten in ("default", "avx2", "avx512")
        for dtype in ("float32", "bfloat16")
        for threads in (1, 2)
        if not (dtype == "bfloat16" and isa in ("AVX2", ""))
        if not (aten == "avx512" and "avx512f" not in flags)
    ]
    random.Random(0).shuffle(every)
    missing = set().union(*map(pairs, every))
    chosen: list[Case] = []
    while missing or len(chosen) < n:
        left = [case for case in every if case not in chosen]
        if not left:
            break
        chosen.append(max(left, key=lambda case: (len(pairs(case) & missing), not is_emulated(case))))
        missing -= pairs(chosen[-1])
    return chosen


def is_emulated(case: Case) -> bool:
    """Whether its precision is one that the imitated processor has no instructions for."""
    return case.dtype == "bfloat16" and case.isa == "AVX512_CORE"


def pairs(case: Case) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """Every two of its values, with their names."""
    return set(itertools.combinations(asdict(case).items(), 2))


def run(case: Case, folder: Path) -> dict[str, object]:
    """One demo as a user starts it, in its own process: exit code, seconds, peak memory, last scores of each stage."""
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": case.isa, "ATEN_CPU_CAPABILITY": case.aten}
    env = {name: value for name, value in env.items() if value}
    command = [sys.executable, "-m", "neogpt", "demo", "--run", str(folder), "--seed", str(case.seed)]
    command += ["--dtype", case.dtype, "--threads", str(case.threads)]
    print(case, file=sys.stderr, flush=True)
    began = time.monotonic()
    with (folder.with_suffix(".log")).open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        **asdict(case),
        "exit": process.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(peak_bytes(usage) / 1e6),
        "scores": {stage: standing_scores(folder / stage) for stage in STAGES},
    }


def peak_bytes(usage: resource.struct_rusage) -> int:
    """The process's largest resident size: Linux counts kilobytes, macOS bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def standing_scores(folder: Path) -> dict[str, float]:
    """The scores of the evaluation that a stage stands at."""
    row = ledger.standing_row(ledger.read(RunDir(folder).metrics), "tinyworld/recall")
    return {key: value for key, value in row.items() if key.startswith("tinyworld/")}


def done(path: Path, cpu: str) -> dict[Case, dict]:
    """What the results file has of this processor."""
    names = list(Case.__dataclass_fields__)
    rows = ledger.read(path) if path.is_file() else []
    return {Case(**{name: row[name] for name in names}): row for row in rows if row["cpu"] == cpu}


def table(rows: Sequence[dict]) -> Iterator[str]:
    """Each score's worst run, stage by stage, and the median of all."""
    yield f"worst of {len(rows)} runs (median); exit codes {sorted({row['exit'] for row in rows})}\n"
    yield f"| score | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}"
    for name in rows[0]["scores"]["pretrain"]:
        low = any(word in name for word in LOW_IS_GOOD)
        cells = []
        for stage in STAGES:
            values = sorted(row["scores"][stage].get(name, float("nan")) for row in rows)
            cells.append(f"{values[-1] if low else values[0]:.3f} ({values[len(values) // 2]:.3f})")
        yield f"| {name.removeprefix('tinyworld/')} | {' | '.join(cells)} |"
    yield f"\nlargest peak memory: {max(row['peak_mb'] for row in rows)} MB"


def machine() -> tuple[str, frozenset[str]]:
    """The processor's name and what it can do, as Linux tells it; nothing where that is not told."""
    path = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in path.read_text().splitlines()] if path.is_file() else []
    found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    return found.get("model name", "unknown"), frozenset(found.get("flags", "").split())


def main() -> int:
    """Run the demos that are missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=40, help="at least so many, and every pair of values")
    parser.add_argument("--folder", type=Path, default=Path("runs/matrix"), help="of the demos' runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--jobs", type=int, default=1, help="demos at the same time (their seconds then mean little)"
    )
    parser.add_argument("--limit", type=int, default=0, help="stop after so many new ones")
    parser.add_argument("--table", action="store_true", help="only print what is there, of all processors")
    options = parser.parse_args()
    if not options.table:
        options.folder.mkdir(parents=True, exist_ok=True)
        cpu, flags = machine()
        there = done(options.results, cpu)
        missing = [case for case in cases(flags, options.runs) if case not in there]
        missing = sorted(missing, key=is_emulated)[: options.limit or None]  # the slow ones last

        def one(case: Case) -> None:
            name = "-".join(map(str, asdict(case).values()))
            row = run(case, options.folder / name)
            ledger.append(options.results, {"cpu": cpu, "torch": torch.__version__, **row})

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, missing))
    rows = list(ledger.read(options.results))
    print("\n".join(table(rows)))
    return int(any(row["exit"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
