"""GPT-2 355M (medium) on 10B tokens of FineWeb-Edu by the published recipe."""

from neogpt.config import AnyRun
from neogpt.recipes import _gpt2


def pretrain() -> AnyRun:
    """24 layers of width 1,024; micro-batches of 16 sequences."""
    return _gpt2.pretrain("gpt2-355m", 24, 16, 1024, lr=3e-4, micro_batches=32)
