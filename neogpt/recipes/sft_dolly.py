"""Fine-tune a pretrained model on databricks-dolly-15k, so that it answers and stops."""

from neogpt.config import AnyRun, BatchConfig, EvalConfig, OptimConfig, RunConfig, SaveConfig
from neogpt.data.sources import dolly
from neogpt.objectives import sft as objective


def sft() -> AnyRun:
    """Two epochs over all of Dolly, loss on the answers and their end only.

    Three evaluations an epoch (455 steps); an epoch without a lower held-out loss ends the run.
    """
    return RunConfig(
        recipe="sft-dolly",
        stage="sft",
        steps=900,
        source=dolly.Dolly(),
        objective=objective.Config(max_tokens=1024),
        batch=BatchConfig(size=32, micro_batches=4),
        optim=OptimConfig(lr=3e-4, warmup_ratio=0.05, schedule="cosine", min_lr_ratio=0.1),
        eval=EvalConfig(every=150, names=("instructions", "samples"), val_samples=256, patience=3),
        save=SaveConfig(every=150),
    )
