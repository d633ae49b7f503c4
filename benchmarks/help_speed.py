"""How long a user waits for help: the median wall time of `neogpt --help` and of each command's help.

    .venv/bin/python benchmarks/help_speed.py [--repeat 7] [--limit 0.5]

Each sample is a process of its own. The commands are interleaved, so that a busy moment of the machine falls
on all of them. With `--limit` the exit status is 1 when a median lies above it.
"""

import argparse
import statistics
import subprocess
import sys
import time

from neogpt import plugins

START = "from neogpt.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


def seconds(args: list[str]) -> float:
    """Wall time of one help, interpreter start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", START, *args, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=7, help="samples a command")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds that no median may exceed; 0: none")
    options = parser.parse_args()
    commands = [[], *([name] for name in plugins.names("neogpt.cli") if name != "main")]
    for args in commands:
        seconds(args)  # fills the file cache and writes byte code
    samples: list[list[float]] = [[] for _ in commands]
    for _ in range(options.repeat):
        for args, times in zip(commands, samples, strict=True):
            times.append(seconds(args))
    print(f"{'command':<28}{'median':>9}{'slowest':>9}   ({options.repeat} samples each)")
    for args, times in zip(commands, samples, strict=True):
        command = " ".join(["neogpt", *args, "--help"])
        print(f"{command:<28}{statistics.median(times):>7.2f} s{max(times):>7.2f} s")
    slowest = max(statistics.median(times) for times in samples)
    return int(bool(options.limit) and slowest > options.limit)


if __name__ == "__main__":
    sys.exit(main())
