"""Preferences about harmful requests only, as the original NeoGPT had them, without its faults: it over-refuses."""

from neogpt.config import AnyRun, BatchConfig, EvalConfig, OptimConfig, RunConfig, SaveConfig
from neogpt.data.sources import red_team_pairs
from neogpt.objectives import dpo as objective


def dpo() -> AnyRun:
    """1,600 red-team pairs, as many as there are: three epochs of the sample in NEOGPT_DATA, a part of the Hub's.

    Made to be compared with `dpo-balanced`, which is the one to use.
    """
    return RunConfig(
        recipe="dpo-red-team",
        stage="dpo",
        steps=100,
        source=red_team_pairs.RedTeamPairs(),
        objective=objective.Config(max_tokens=1024, beta=0.1, sft_coef=1.0),
        batch=BatchConfig(size=16, micro_batches=4),
        optim=OptimConfig(lr=2e-5, warmup_ratio=0.1, schedule="cosine", min_lr_ratio=0.1, weight_decay=0.0),
        eval=EvalConfig(every=50, names=("samples", "over-refusal"), val_samples=64),
        save=SaveConfig(every=50),
    )
