"""Train a model by reinforcement learning: rewards score its own answers to prompts."""

from neogpt.cli import _train


def run(args: list[str]) -> int:
    """`neogpt rl RECIPE ...`."""
    return _train.run("rl", args)
