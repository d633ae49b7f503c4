"""TensorBoard: every number of the metrics ledger, and the speed, in the run's folder `tensorboard`."""

from typing import Any

from neogpt.paths import RunDir
from neogpt.train.trackers.base import BackgroundTracker


class TensorBoard(BackgroundTracker):
    """Writes event files, where the extra is installed (`pip install 'neogpt[track]'`); says nothing where not."""

    name = "tensorboard"
    remembers = False  # an event file may lack its last seconds, so each start writes the history again

    def open(self) -> None:
        """Begin an event file that takes the place of what earlier ones hold."""
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter  # extra: track
        except ImportError:
            return
        self._writer = SummaryWriter(str(self.files.tensorboard), purge_step=0, flush_secs=10)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One scalar a number."""
        for name, value in values.items() if self._writer else ():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the file."""
        if self._writer:
            self._writer.close()


def build(files: RunDir) -> BackgroundTracker:
    """The tracker of the run in `files`."""
    return TensorBoard(files)
