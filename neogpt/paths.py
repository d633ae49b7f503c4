"""Where things are on disk: caches, run directories and names that must stay inside a folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from neogpt.errors import DataError


def cache_dir() -> Path:
    """The folder for downloads and prepared data: NEOGPT_HOME, or neogpt/ in the user's cache folder."""
    if home := os.environ.get("NEOGPT_HOME"):
        return Path(home).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "neogpt"


def local_data() -> Path | None:
    """The folder of real data named by NEOGPT_DATA, or None when it is unset or absent."""
    value = os.environ.get("NEOGPT_DATA")
    return Path(value) if value and Path(value).is_dir() else None


def is_offline() -> bool:
    """True when the user has forbidden the network (NEOGPT_OFFLINE or HF_HUB_OFFLINE)."""
    values = (os.environ.get(name, "0").lower() for name in ("NEOGPT_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value not in ("", "0", "false") for value in values)


def safe_join(root: Path, name: str) -> Path:
    """`root / name`, refusing names that lead outside `root` (absolute, `..`, links)."""
    path = root / name
    inside = "\0" not in name and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    if Path(name).is_absolute() or not inside:
        raise DataError(
            f"the name {name!r} leads outside {root}", "a name inside that folder", code="data.path_outside"
        )
    return path


@dataclass(frozen=True)
class RunDir:
    """The files of one run, by name (see docs/architecture.md)."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def metrics(self) -> Path:
        """Ledger of what a run computed: a pure function of its config, the same after any resume."""
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """Ledger of what happened to a run: starts, saves, speed, time stamps. Never cut back."""
        return self.root / "events.jsonl"

    @property
    def guardrails(self) -> Path:
        """The first evaluation's guardrails, sample by sample: what later ones are compared with."""
        return self.root / "guardrails.jsonl"

    @property
    def samples(self) -> Path:
        """What the model answered at each evaluation, one row a question."""
        return self.root / "samples.jsonl"

    @property
    def sample_sheet(self) -> Path:
        """The same for reading, newest first."""
        return self.root / "samples.md"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}"
