"""Trackio: the numbers of the ledger in a local database, or on a Hugging Face Space (TRACKIO_SPACE_ID)."""

import os
from typing import Any

from neogpt.paths import RunDir
from neogpt.train.trackers.base import BackgroundTracker


class Trackio(BackgroundTracker):
    """Logs to the project `neogpt` unless TRACKIO_PROJECT says else; `trackio show --project neogpt` shows it."""

    name = package = "trackio"  # no extra: it wants an older Pillow than the other extras are tested with

    def open(self) -> None:
        """Begin the run, or go on with it: its name ends in an id, so that no two runs share one."""
        import trackio  # extra: trackio

        self._run: Any = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or "neogpt",
            name=f"{self.files.root.resolve().name}-{self.run_id[:6]}",
            config=self.settings(),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """One row a step."""
        self._run.log(values, step=step)

    def finish(self) -> None:
        """Wait until the rows are stored."""
        self._run.finish()


def build(files: RunDir) -> BackgroundTracker:
    """The tracker of the run in `files`."""
    return Trackio(files)
