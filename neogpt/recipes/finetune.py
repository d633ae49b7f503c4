"""Fine-tune any model on your own instructions (sft) or preferences (dpo): --from MODEL --source.of ..."""

from neogpt.config import AnyRun, BatchConfig, EvalConfig, OptimConfig, RunConfig, SaveConfig
from neogpt.data.sources import mix
from neogpt.objectives import dpo as dpo_objective
from neogpt.objectives import sft as sft_objective


def sft() -> AnyRun:
    """Instructions from one source or several, each with a weight.

    Ends when four evaluations bring no lower held-out loss; below 2,400 rows an epoch is shorter than the 75 steps
    between them, so few rows want --eval.every smaller.
    """
    return RunConfig(
        recipe="finetune",
        stage="sft",
        steps=900,
        source=mix.Mix(),
        objective=sft_objective.Config(packing=True),
        batch=BatchConfig(size=32, micro_batches=4),
        optim=OptimConfig(lr=3e-4, warmup_ratio=0.05, schedule="cosine", min_lr_ratio=0.1),
        eval=EvalConfig(every=75, names=("instructions", "samples"), val_samples=256, patience=4),
        save=SaveConfig(every=75),
    )


def dpo() -> AnyRun:
    """Preferences from one source or several: beside harmful prompts, helpful ones at twice their number."""
    return RunConfig(
        recipe="finetune",
        stage="dpo",
        steps=300,
        source=mix.Mix(),
        objective=dpo_objective.Config(beta=0.3, sft_coef=0.2),
        batch=BatchConfig(size=32, micro_batches=4),
        optim=OptimConfig(lr=5e-6, warmup_ratio=0.1, schedule="cosine", min_lr_ratio=0.0, weight_decay=0.0),
        eval=EvalConfig(every=50, names=("samples",), val_samples=256),
        save=SaveConfig(every=50),
    )
