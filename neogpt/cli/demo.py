"""The whole life of a GPT-2 in minutes on two CPU cores: text, pretraining, SFT, DPO, RL, report. Begin here."""

import time
from pathlib import Path
from typing import Literal

import tyro

from neogpt import ledger
from neogpt.errors import RegressedError
from neogpt.paths import RunDir

_SCORE = "tinyworld/recall"
"""Stands in every evaluation that took the exam."""


def run(args: list[str]) -> int:
    """`neogpt demo [--run DIR] [--seed N] [--threads N] [--dtype D]`."""
    return tyro.cli(_demo, args=args, prog="neogpt demo", config=(tyro.conf.FlagConversionOff,))


def _demo(
    run: Path = Path("runs/demo"),
    seed: int = 0,
    threads: int = 0,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
) -> int:
    """Grow a GPT-2 in tinyworld: pretraining, SFT, DPO, RL and a report.

    Offline, from nothing, in minutes. Interrupt it at any time: the same command goes on where it was. The exit code
    is 0 where every promised score is reached, and 6 where one is not.

    examples: neogpt demo        neogpt demo --run runs/second --seed 2

    Args:
        run: folder of the demo's runs.
        seed: of the world, the weights and the order.
        threads: CPU threads; 0: all cores.
        dtype: precision of the matrix products; auto: bfloat16 where the machine has instructions for it.
    """
    from neogpt.cli import _train, report  # start-up time
    from neogpt.recipes import demo

    began = time.monotonic()
    runs, stopped = demo.stages(run, seed, threads, dtype), ""
    for name, settings in runs.items():
        print(f"\n=== {name}: {settings.steps} steps", flush=True)
        again = f"neogpt {settings.stage} {settings.recipe} --run {run / name} --seed {seed}"
        if settings.init_from:
            again += f" --from {settings.init_from}"
        try:
            _train.start(settings, run / name, resume="auto", command=again)
        except (
            RegressedError
        ) as error:  # the stage stands at its last good checkpoint, which may be good enough
            print(f"neogpt: {error}", flush=True)
            stopped = f"A guardrail ended {name}, which stands at its last good checkpoint. "
    print(f"\n=== report after {time.monotonic() - began:.0f} s", flush=True)
    report.run([str(run)])
    rows = {name: ledger.read(RunDir(run / name).metrics) for name in runs}
    missed = list(demo.broken({name: ledger.standing_row(found, _SCORE) for name, found in rows.items()}))
    print(f"\nNext: neogpt chat {run / 'rl'}        (and open {run / 'report.html'})")
    print(stopped + ("Every promised score is reached." if not missed else _told(missed)))
    return RegressedError.exit_code if missed else 0


def _told(missed: list[str]) -> str:
    lines = "\n".join(f"  {line}" for line in missed)
    hint = "another seed, as in neogpt demo --seed 1 --run runs/seed-1"
    return f"Promised scores that were not reached:\n{lines}\n  try: {hint}"
