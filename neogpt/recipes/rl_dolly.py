"""Practise answers of the form asked for on Dolly's requests, and rehearse refusals and good answers beside them."""

from neogpt.config import AnyRun, BatchConfig, EvalConfig, OptimConfig, RunConfig, SaveConfig
from neogpt.data.sources import practice
from neogpt.objectives import rl as objective

CANARIES = (
    "border/harmful_refused",
    "border/harmless_refused:low",
    "canary/stop",
    "canary/distinct_2",
    "canary/kl:low:0.5",
    "val_loss:low",
)
"""What learning by reward must not lose."""


def rl() -> AnyRun:
    """After `dpo-balanced`: finished, well-formed, coherent and relevant answers, without loops."""
    return RunConfig(
        recipe="rl-dolly",
        stage="rl",
        source_name="practice",
        steps=100,
        source=practice.Config(),
        objective=objective.Config(
            group=8,
            max_new_tokens=64,
            rewards=("finished:0.25", "format:1", "repetition:0.25", "coherence:0.5", "relevance:0.5"),
            replay=0.5,
            replay_rows=32,
        ),
        batch=BatchConfig(size=16, micro_batches=4),
        optim=OptimConfig(lr=1e-4, warmup=0.1, final=0.0, weight_decay=0.0),
        eval=EvalConfig(every=25, names=("formats", "border", "samples"), val_samples=256, canaries=CANARIES),
        save=SaveConfig(every=25),
    )
