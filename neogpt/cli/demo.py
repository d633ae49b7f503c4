"""The whole life of a GPT-2 in minutes on two CPU cores: text, pretraining, SFT, DPO, RL, report. Begin here."""

import time
from pathlib import Path

import tyro

from neogpt.errors import RegressedError


def run(args: list[str]) -> int:
    """`neogpt demo [--run DIR] [--seed N]`."""
    return tyro.cli(_demo, args=args, prog="neogpt demo", config=(tyro.conf.FlagConversionOff,))


def _demo(run: Path = Path("runs/demo"), seed: int = 0, threads: int = 0) -> int:
    """Grow a GPT-2 in tinyworld: pretraining, SFT, DPO, RL and a report.

    Offline, from nothing, in minutes. Interrupt it at any time: the same command goes on where it was.

    examples: neogpt demo        neogpt demo --run runs/second --seed 2

    Args:
        run: folder of the demo's runs.
        seed: of the world, the weights and the order.
        threads: CPU threads; 0: all cores.
    """
    from neogpt.cli import _train, report
    from neogpt.recipes import demo

    began, code = time.monotonic(), 0
    for name, settings in demo.stages(run, seed, threads).items():
        print(f"\n=== {name}: {settings.steps} steps", flush=True)
        again = f"neogpt {settings.stage} {settings.recipe} --run {run / name} --seed {seed}"
        if settings.init_from:
            again += f" --from {settings.init_from}"
        try:
            _train.start(settings, run / name, resume="auto", command=again)
        except RegressedError as error:  # the report shows how far it came, and the exit code says it
            print(f"neogpt: {error}", flush=True)
            code = error.exit_code
    print(f"\n=== report after {time.monotonic() - began:.0f} s", flush=True)
    report.run([str(run)])
    print(f"\nNext: neogpt chat {run / 'rl'}        (and open {run / 'report.html'})")
    return code
