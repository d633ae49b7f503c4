"""How long a user waits for help: the median time of `neogpt --help` and of each command's help.

    .venv/bin/python benchmarks/help_speed.py [--repeat 7] [--limit 0.5]

Each sample is a process of its own. The commands are interleaved, so that a busy moment of the machine falls
on all of them; on a busy machine processor time says more than wall time. With `--limit` the exit status is 1
when a median of the wall times lies above it.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

from neogpt import plugins

START = "from neogpt.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


def seconds(args: list[str]) -> tuple[float, float]:
    """Wall time and processor time of one help, interpreter start included."""
    began, used = time.perf_counter(), _processor_s()
    subprocess.run([sys.executable, "-c", START, *args, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began, _processor_s() - used


def _processor_s() -> float:
    """Processor time of all finished child processes."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=7, help="samples a command")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds that no median may exceed; 0: none")
    options = parser.parse_args()
    commands = [[], *([name] for name in plugins.names("neogpt.cli") if name != "main")]
    for args in commands:
        seconds(args)  # fills the file cache and writes byte code
    samples: list[list[tuple[float, float]]] = [[] for _ in commands]
    for _ in range(options.repeat):
        for args, times in zip(commands, samples, strict=True):
            times.append(seconds(args))
    print(f"{'command':<28}{'median':>8}{'slowest':>9}{'processor':>11}   ({options.repeat} samples each)")
    medians = []
    for args, times in zip(commands, samples, strict=True):
        wall, processor = zip(*times, strict=True)
        medians.append(statistics.median(wall))
        command = " ".join(["neogpt", *args, "--help"])
        print(f"{command:<28}{medians[-1]:>6.2f} s{max(wall):>7.2f} s{statistics.median(processor):>9.2f} s")
    return int(bool(options.limit) and max(medians) > options.limit)


if __name__ == "__main__":
    sys.exit(main())
