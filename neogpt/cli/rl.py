"""Let a model practise for a reward, from prompts alone."""

from neogpt.cli import _train


def run(args: list[str]) -> int:
    """`neogpt rl RECIPE ...`."""
    return _train.run("rl", args)
