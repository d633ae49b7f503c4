"""TensorBoard: every number of the metrics ledger, and the speed. Its failures never stop a run."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

from neogpt.ledger import Row


class TensorBoard:
    """A listener that writes event files, where the extra is installed (`pip install 'neogpt[track]'`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._broken = False

    def row(self, row: Row) -> None:
        """Write the row's numbers at its step."""
        self._write(row)

    def event(self, event: Row) -> None:
        """Write the speed; flush at the end."""
        if event["event"] == "progress":
            self._write({key: value for key, value in event.items() if key not in ("time", "event")})
        elif event["event"] == "end" and self._writer:
            with contextlib.suppress(OSError):
                self._writer.close()

    def _write(self, values: Row) -> None:
        if self._broken:
            return
        try:
            if self._writer is None:
                self._writer = _open(self.folder)
            for name, value in values.items():
                if name != "step" and isinstance(value, int | float):
                    self._writer.add_scalar(name, value, values["step"])
        except ImportError:
            self._broken = True
        except Exception as error:
            self._broken = True
            warnings.warn(f"TensorBoard failed and is left out from here on: {error}", stacklevel=2)


def _open(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
