"""A small GPT-2 on your own text, sized for a quarter of an hour on two CPU cores: `--source.path FOLDER`."""

from neogpt.config import (
    AnyRun,
    BatchConfig,
    DataConfig,
    EvalConfig,
    GPT2Config,
    OptimConfig,
    RunConfig,
    SaveConfig,
)
from neogpt.data.sources import files
from neogpt.objectives import pretrain as objective


def pretrain() -> AnyRun:
    """GPT-2's tokenizer and architecture at a width of 256: parquet, JSON lines or text files from a folder."""
    return RunConfig(
        recipe="laptop",
        stage="pretrain",
        steps=400,
        model=GPT2Config(n_layer=4, n_head=4, n_embd=256, n_positions=256),
        source=files.Files(),
        data=DataConfig(tokenizer="gpt2", val_fraction=0.02),
        objective=objective.Config(seq_len=256),
        batch=BatchConfig(size=16, micro_batches=2),
        optim=OptimConfig(
            name="muon", lr=5e-3, warmup_ratio=0.05, schedule="wsd", decay_ratio=0.5, min_lr_ratio=0.0
        ),
        eval=EvalConfig(every=100, names=("samples",), val_samples=256),
        save=SaveConfig(every=100),
    )
