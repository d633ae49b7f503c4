"""GPT-2 124M trained better: the same architecture in fewer tokens, with Muon and a trapezoidal schedule."""

import dataclasses

from neogpt.config import AnyRun, OptimConfig
from neogpt.recipes import gpt2_124m


def pretrain() -> AnyRun:
    """`gpt2-124m` with another update rule, schedule and horizon. These numbers are to be tuned by ablation."""
    return dataclasses.replace(
        gpt2_124m.pretrain(),
        recipe="gpt2-124m-fast",
        tokens=6_250_000_000,
        optim=OptimConfig(
            name="muon",
            lr=3e-3,
            weight_decay=0.1,
            clip=1.0,
            schedule="trapezoid",
            warmup=0.02,
            decay=0.5,
            final=0.0,
        ),
    )
