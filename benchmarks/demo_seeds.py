"""How surely the demo teaches what it shows: every score of every stage, worst of several seeds.

    .venv/bin/python benchmarks/demo_seeds.py --seeds 0 1 2 3 4 --run runs/seeds

Each seed is another world, other weights and another order. Runs that are there already are only read.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from neogpt import ledger
from neogpt.paths import RunDir

STAGES = ("pretrain", "sft", "dpo", "rl", "dpo-red-team")
LOW_IS_GOOD = ("over_refusal", "degenerate")


def main() -> int:
    """Run the demos that are missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--run", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="demos at the same time")
    options = parser.parse_args()
    folders = [options.run / f"seed-{seed}" for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = zip(options.seeds, folders, strict=True)
        failed = sum(pool.map(lambda task: demo(*task, options.threads), tasks))
    print_table([{stage: last_scores(folder / stage) for stage in STAGES} for folder in folders])
    return failed


def demo(seed: int, folder: Path, threads: int) -> int:
    """One demo as a user starts it; its exit code."""
    command = [sys.executable, "-m", "neogpt", "demo", "--run", str(folder), "--seed", str(seed)]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    done = subprocess.run([*command, "--threads", str(threads)], stdout=subprocess.DEVNULL)
    return int(done.returncode != 0)


def last_scores(run: Path) -> dict[str, float]:
    """The scores of a run's last evaluation."""
    rows = [row for row in ledger.read(RunDir(run).metrics) if "tinyworld/recall" in row]
    return {key: value for key, value in rows[-1].items() if key.startswith("tinyworld/")}


def print_table(seeds: list[dict[str, dict[str, float]]]) -> None:
    """Each score's worst seed, stage by stage, and the median."""
    print(f"worst of {len(seeds)} seeds (median)\n")
    print(f"| score | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}")
    for name in seeds[0]["pretrain"]:
        low = any(word in name for word in LOW_IS_GOOD)
        cells = []
        for stage in STAGES:
            values = sorted(scores[stage][name] for scores in seeds)
            cells.append(f"{values[-1] if low else values[0]:.3f} ({values[len(values) // 2]:.3f})")
        print(f"| {name.removeprefix('tinyworld/')} | {' | '.join(cells)} |")


if __name__ == "__main__":
    raise SystemExit(main())
