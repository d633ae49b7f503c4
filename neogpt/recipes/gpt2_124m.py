"""GPT-2 124M on 10B tokens of FineWeb-Edu by the published recipe."""

from neogpt.config import AnyRun
from neogpt.recipes import _gpt2


def pretrain() -> AnyRun:
    """12 layers of width 768; micro-batches of 32 sequences."""
    return _gpt2.pretrain("gpt2-124m", 12, 12, 768, lr=6e-4, micro_batches=16, keep_every=5000)
