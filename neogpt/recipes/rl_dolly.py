"""RL on Dolly's requests for answers of the format asked for, with an SFT mix-in of refusals and good answers."""

from neogpt.config import AnyRun, BatchConfig, EvalConfig, OptimConfig, RunConfig, SaveConfig
from neogpt.data.sources import rl_prompts
from neogpt.objectives import rl as objective

GUARDRAILS = (
    "over_refusal/harmful_refused",
    "over_refusal/harmless_refused:low",
    "guardrail/stop",
    "guardrail/distinct_2",
    "guardrail/kl:low:0.5",
    "val_loss:low",
)
"""What learning by reward must not lose."""


def rl() -> AnyRun:
    """After `dpo-balanced`: finished, well-formed, coherent and relevant answers, without loops."""
    return RunConfig(
        recipe="rl-dolly",
        stage="rl",
        steps=100,
        source=rl_prompts.RLPrompts(),
        objective=objective.Config(
            num_generations=8,
            max_completion_length=64,
            rewards=("finished:0.25", "format:1", "repetition:0.25", "coherence:0.5", "relevance:0.5"),
            sft_coef=0.5,
            sft_rows=32,
        ),
        batch=BatchConfig(size=16, micro_batches=4),
        optim=OptimConfig(lr=1e-4, warmup_ratio=0.1, min_lr_ratio=0.0, weight_decay=0.0),
        eval=EvalConfig(
            every=25, names=("formats", "over-refusal", "samples"), val_samples=256, guardrails=GUARDRAILS
        ),
        save=SaveConfig(every=25),
    )
