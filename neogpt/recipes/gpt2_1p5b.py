"""GPT-2 1.5B (XL) on 10B tokens of FineWeb-Edu by the published recipe."""

from neogpt.config import AnyRun
from neogpt.recipes import _gpt2


def pretrain() -> AnyRun:
    """48 layers of width 1,600; micro-batches of 8 sequences."""
    return _gpt2.pretrain("gpt2-1.5b", 48, 25, 1600, lr=2e-4, micro_batches=64)
