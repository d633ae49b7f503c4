"""GPT-2 774M (large) on 10B tokens of FineWeb-Edu by the published recipe."""

from neogpt.config import AnyRun
from neogpt.recipes import _gpt2


def pretrain() -> AnyRun:
    """36 layers of width 1,280; micro-batches of 8 sequences."""
    return _gpt2.pretrain("gpt2-774m", 36, 20, 1280, lr=2.5e-4, micro_batches=64)
