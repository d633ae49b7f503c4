"""`--hours`: a horizon by the clock, turned into a number of steps once, before the first of them.

A run is a pure function of its config, so it cannot end when a clock says so. A second loop runs a few
steps, an evaluation and a save in a scratch folder, everything that this changed is put back, and the run gets
as many steps as will fit. From there on it is the run that `--steps` with that number would have been.
"""

import bisect
import contextlib
import dataclasses
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from neogpt import atomic, checkpoint, config
from neogpt.config import AnyRun
from neogpt.paths import RunDir
from neogpt.torch_compat import local_part
from neogpt.train.loop import Loop

_WARM_UP, _TIMED = 2, 5
_clock = time.monotonic


@dataclass(frozen=True)
class Pace:
    """What the parts of a run take, in seconds."""

    step_s: float
    evaluation_s: float
    save_s: float

    def seconds(self, steps: int, run: AnyRun) -> float:
        """A run of so many steps with its evaluations (the first and the last included) and saves."""
        evaluations = 2 + ((steps - 1) // run.eval.every if run.eval.every else 0)
        saves = 1 + ((steps - 1) // run.save.every if run.save.every else 0)
        return steps * self.step_s + evaluations * self.evaluation_s + saves * self.save_s

    def steps(self, hours: float, run: AnyRun) -> int:
        """The most steps that take no longer than that; at least 1."""
        budget = 3600 * hours
        most = range(1, 2 + int(budget / self.step_s))
        return max(1, bisect.bisect_right(most, budget, key=lambda steps: self.seconds(steps, run)))


def resolve_time_budget(loop: Loop) -> None:
    """Replace the run's hours by steps: the main process's reckoning, in all of them, written to config.toml."""
    run, world = loop.run, loop.world
    if not run.hours:
        return
    pace = _profile_steps(loop)
    steps = int(world.gather(np.array([[float(pace.steps(run.hours, run))]]))[0, 0])
    loop.run = loop.objective.run = dataclasses.replace(run, steps=steps, hours=0.0)
    if world.is_main:
        with checkpoint.disk_errors(loop.files, "the run's settings"):
            config.save(loop.run, loop.files.config)
    took = {name: round(value, 4) for name, value in dataclasses.asdict(pace).items()}
    loop.log.event("horizon", hours=run.hours, steps=steps, **took)


def _profile_steps(loop: Loop) -> Pace:
    """Time steps (their median), an evaluation and a save of a loop that leaves no trace."""
    with _scratch(loop) as files, _unchanged(loop):
        timed = loop.for_timing(files)

        def step() -> None:
            timed._step()
            timed._write_rows()

        with timed.saver, timed.batches:
            times = [_seconds(step) for _ in range(_WARM_UP + _TIMED)]
            pace = Pace(statistics.median(times[_WARM_UP:]), _seconds(timed._evaluate), _seconds(timed._save))
    loop.throughput.skip()
    return pace


def _seconds(work: Callable[[], object]) -> float:
    began = _clock()
    work()
    return max(_clock() - began, 1e-9)


@contextlib.contextmanager
def _scratch(loop: Loop) -> Iterator[RunDir]:
    """A folder on the same disk as the run's, under a name that a next start sweeps up after a kill."""
    files = RunDir(loop.files.root / "profile.tmp-0")
    if loop.world.is_main:
        atomic.sweep(loop.files.root)
        with checkpoint.disk_errors(loop.files, "timed steps"):
            files.root.mkdir(parents=True)
    try:
        yield files
    finally:
        if loop.world.is_main:
            shutil.rmtree(files.root, ignore_errors=True)


@contextlib.contextmanager
def _unchanged(loop: Loop) -> Iterator[None]:
    """Weights, optimizers and random numbers are afterwards what they were before the first step."""
    held = [local_part(parameter).detach() for _, parameter in loop.named]
    kept = [tensor.to("cpu", copy=True) for tensor in held]
    devices = [loop.world.device] if loop.world.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
    for tensor, before in zip(held, kept, strict=True):
        tensor.copy_(before)
    for optimizer in loop.optimizers:
        optimizer.state.clear()
