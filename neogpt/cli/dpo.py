"""Teach a model what to prefer, from pairs of answers."""

from neogpt.cli import _train


def run(args: list[str]) -> int:
    """`neogpt dpo RECIPE ...`."""
    return _train.run("dpo", args)
