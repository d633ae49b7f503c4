"""What the GPT-2 recipes share: the published recipe, at any size (gpt2_124m.py and its siblings give the sizes).

Sources: Radford et al. 2019 (architecture, context); Brown et al. 2020, "Language Models are Few-Shot Learners",
table 2.1 and appendix B (batch of 0.5M tokens, peak rates, AdamW's betas, decay 0.1, clipping at 1, warm-up over
375M tokens, cosine to a tenth); build-nanogpt (the same on 10B tokens of FineWeb-Edu: 715 of 19,073 steps of warm-up).
"""

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
from neogpt.data.sources import fineweb_edu
from neogpt.objectives import pretrain as objective

CONTEXT = 1024
SEQUENCES = 512
"""A step: 512 sequences of 1,024 tokens are 524,288 tokens."""


def pretrain(
    recipe: str, n_layer: int, n_head: int, n_embd: int, *, lr: float, micro_batches: int, keep_every: int = 0
) -> AnyRun:
    """The published recipe for a model of this shape.

    `micro_batches` is a power of two, so that 1, 2, 4, ... up to that many processes can share a step.
    """
    return RunConfig(
        recipe=recipe,
        stage="pretrain",
        tokens=10_000_000_000,
        compile=True,
        spike_sigma=6.0,
        model=GPT2Config(n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_positions=CONTEXT),
        source=fineweb_edu.FineWebEdu(),
        data=DataConfig(tokenizer="gpt2"),
        objective=objective.Config(seq_len=CONTEXT),
        batch=BatchConfig(size=SEQUENCES, micro_batches=micro_batches),
        optim=OptimConfig(
            name="adamw",
            lr=lr,
            beta1=0.9,
            beta2=0.95,
            weight_decay=0.1,
            max_grad_norm=1.0,
            schedule="cosine",
            warmup_ratio=0.0375,
            min_lr_ratio=0.1,
        ),
        eval=EvalConfig(every=250, names=("hellaswag", "samples"), val_samples=10_240),
        save=SaveConfig(every=250, keep_last=2, keep_every=keep_every, keep_best=True),
    )
