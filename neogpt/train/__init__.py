"""The one training loop."""

from neogpt.train.loop import Evaluate
from neogpt.train.run import train
from neogpt.train.run_log import Tracker

__all__ = ["Evaluate", "Tracker", "train"]
