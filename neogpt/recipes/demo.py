"""All stages in minutes: pretraining, SFT, DPO and RL in tinyworld (`neogpt demo`)."""

import dataclasses
from pathlib import Path

from neogpt.config import AnyRun
from neogpt.recipes import tinyworld


def stages(folder: Path, seed: int, threads: int = 0) -> dict[str, AnyRun]:
    """Each stage's run, by the name of its folder in `folder`, in the order they are made.

    `dpo-red-team` is the lesson beside: the same stage with harmful prompts only, as the original did.
    """
    runs = {
        "pretrain": tinyworld.pretrain(),
        "sft": _from(tinyworld.sft(), folder / "pretrain"),
        "dpo": _from(tinyworld.dpo(), folder / "sft"),
        "dpo-red-team": _from(tinyworld.dpo_red_team(), folder / "sft"),
        "rl": _from(tinyworld.rl(), folder / "dpo"),
    }
    seeded = {name: tinyworld.with_seed(run, seed) for name, run in runs.items()}
    return {name: dataclasses.replace(run, threads=threads) for name, run in seeded.items()}


def _from(run: AnyRun, origin: Path) -> AnyRun:
    return dataclasses.replace(run, init_from=str(origin))
