"""Fine-tune a model on instructions, so that it answers and stops."""

from neogpt.cli import _train


def run(args: list[str]) -> int:
    """`neogpt sft RECIPE ...`."""
    return _train.run("sft", args)
