"""Weights & Biases: the numbers of the ledger under one run, which a resume goes on with; WANDB_* is honored."""

import netrc
import os
from typing import Any
from urllib.parse import urlparse

from neogpt.paths import RunDir
from neogpt.train.trackers.base import BackgroundTracker


class WandB(BackgroundTracker):
    """Logs to the project `neogpt` unless WANDB_PROJECT says else; offline where nobody has signed in."""

    name = "wandb"
    package = "'neogpt[wandb]'"

    def open(self) -> None:
        """Begin the run, or go on with it: its id follows from the run folder."""
        import wandb  # extra: wandb

        known = os.environ.get
        self._run: Any = wandb.init(
            project=known("WANDB_PROJECT") or "neogpt",
            name=known("WANDB_NAME") or self.files.root.resolve().name,
            id=known("WANDB_RUN_ID") or self.run_id,
            resume="allow",
            dir=known("WANDB_DIR") or str(self.files.root),
            mode=None if known("WANDB_MODE") or _signed_in() else "offline",
            config=self.settings(),
            settings=wandb.Settings(console="off"),
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """One history row a step."""
        self._run.log(values, step=step)

    def finish(self) -> None:
        """Wait for the upload."""
        self._run.finish()


def _signed_in() -> bool:
    """Whether there is a key: without one wandb would ask for it, in the middle of a run."""
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return bool(os.environ.get("WANDB_API_KEY")) or netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def build(files: RunDir) -> BackgroundTracker:
    """The tracker of the run in `files`."""
    return WandB(files)
