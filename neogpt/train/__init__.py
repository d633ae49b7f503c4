"""The one training loop."""

from neogpt.train.loop import Evaluate
from neogpt.train.run import train
from neogpt.train.run_log import Listener

__all__ = ["Evaluate", "Listener", "train"]
