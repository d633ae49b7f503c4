"""A run from its settings to its last step: `train`, the function that the command line calls."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from neogpt import atomic, checkpoint
from neogpt.config import AnyRun
from neogpt.paths import RunDir
from neogpt.train import time_budget
from neogpt.train.device import keep_freed_memory, pick_device
from neogpt.train.loop import Evaluate, Loop
from neogpt.train.parallel.distributed import World, connected, world_from_environment
from neogpt.train.run_log import Tracker
from neogpt.train.setup import prepare
from neogpt.train.signals import stop_flag


def train(
    run: AnyRun,
    folder: Path,
    resume: str = "",
    evaluate: Evaluate | None = None,
    trackers: Sequence[Tracker] = (),
    command: str = "",
) -> None:
    """Run `run` in `folder` to its last step.

    `resume`: "" for a new run, "auto" to go on from the newest whole checkpoint (or begin), or a checkpoint.
    Errors: ConfigError, DataError, CheckpointError before the first step; DivergedError when steps stay
    non-finite; PreemptedError after a signal, with everything saved.
    """
    world = world_from_environment()
    files = RunDir(folder)
    with connected(world, pick_device(run.device)), _locked(files, world):
        start = prepare(run, files, world, resume)
        if start.run.device == "cpu":
            keep_freed_memory()
        with stop_flag() as stop:
            loop = Loop(start, evaluate, trackers, stop, command)
            with loop.saver, loop.batches:
                time_budget.resolve_time_budget(loop)
                loop.run_to_end()


@contextlib.contextmanager
def _locked(files: RunDir, world: World) -> Iterator[None]:
    """The main process holds the run; CheckpointError where its folder cannot be written."""
    with contextlib.ExitStack() as held:
        if world.is_main:
            with checkpoint.disk_errors(files, "the run's files"):
                held.enter_context(atomic.lock(files.lock, f"the run {files.root}"))
        yield
