"""Train a GPT-2 on text, from random weights or from a checkpoint."""

from neogpt.cli import _train


def run(args: list[str]) -> int:
    """`neogpt pretrain RECIPE ...`."""
    return _train.run("pretrain", args)
