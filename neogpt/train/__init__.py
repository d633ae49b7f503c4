"""The one training loop."""

from neogpt.train.loop import Evaluate, Listener, train

__all__ = ["Evaluate", "Listener", "train"]
