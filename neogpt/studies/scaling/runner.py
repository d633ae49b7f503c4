"""Train the runs of a grid: here one chain after another, or each chain as a job of Slurm or Ray.

A run is `neogpt pretrain ... --resume auto` in a process of its own, so the grid goes on where it was stopped,
whoever stopped it, and every run can be looked at, reported and evaluated like any other.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from neogpt.errors import ConfigError, NeoGPTError, PreemptedError
from neogpt.paths import RunDir
from neogpt.studies.scaling import grid
from neogpt.studies.scaling.branch import branch
from neogpt.studies.scaling.grid import Job

_POLL_S = 5.0
_PREEMPTED = PreemptedError.exit_code


def train_chain(folder: Path, recipe: str, jobs: Sequence[Job], tell: Callable[[str], None]) -> None:
    """The chain's runs that are not finished, from the shortest on.

    Errors: PreemptedError after a signal; NeoGPTError (scaling.run_failed) where a run ends badly.
    """
    for before, job in zip([None, *jobs[:-1]], jobs, strict=True):
        if grid.is_done(folder, job):
            tell(f"{job.name}: done")
            continue
        target = RunDir(folder / job.name)
        if before and before.flat and not target.checkpoints.is_dir():
            branch(RunDir(folder / before.name), before.flat, target, job.changes)
            tell(f"{job.name}: {job.steps} steps, from step {before.flat} of {before.name}")
        else:
            tell(f"{job.name}: {job.steps} steps")
        _train(target.root, recipe, job)


def _train(folder: Path, recipe: str, job: Job) -> None:
    command = [sys.executable, "-m", "neogpt", "pretrain", recipe, "--run", str(folder), "--resume", "auto"]
    code = _exit_code([*command, *job.flags])
    if code == _PREEMPTED:
        raise PreemptedError(
            f"{job.name} was stopped by a signal and is saved",
            hint="the same command again",
            code="study.stopped",
        )
    if code:
        raise NeoGPTError(
            f"the run {job.name} ended with exit code {code}",
            "runs that end well; its message stands above",
            f"{shlex.join(command[2:])} ... alone, or the same command again",
            code="scaling.run_failed",
        )


def on_slurm(folder: Path, n_chains: int, partition: str, hours: str, cpus: int) -> None:
    """Submit the chains as an array job and wait until Slurm has none of it left.

    Errors: ConfigError without a partition (scaling.bad_grid), without Slurm, or where it refuses the job.
    """
    if not partition:
        raise ConfigError(
            "Slurm needs to know where to run",
            "a partition",
            "--partition NAME (see `sinfo`)",
            code="scaling.bad_grid",
        )
    command = [
        "sbatch",
        "--parsable",
        f"--array=0-{n_chains - 1}",
        f"--partition={partition}",
        f"--time={hours}",
        f"--cpus-per-task={cpus}",
        "--signal=TERM@120",
        "--job-name=neogpt-grid",
        f"--output={folder / 'slurm-%a.log'}",
        f"--wrap={shlex.join(_chain_command(folder))} --chain $SLURM_ARRAY_TASK_ID",
    ]
    try:
        job = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        while _queued(job.partition(";")[0]):
            time.sleep(_POLL_S)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no command {error.filename}", "a machine where Slurm is", code="cli.no_such_command"
        ) from None
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"{error.cmd[0]} refused the job (exit code {error.returncode})",
            "its message above",
            code="cli.job_refused",
        ) from None


def on_ray(folder: Path, n_chains: int, cpus: int) -> None:
    """The chains as Ray's tasks, on the cluster that RAY_ADDRESS or `ray start` names, else on one started here.

    Errors: ConfigError without the extra; NeoGPTError (scaling.run_failed) where chains end badly.
    """
    try:
        import ray  # extra: cluster
    except ImportError:
        raise ConfigError(
            "ray is needed for --executor ray",
            "the extra `cluster`",
            "pip install 'neogpt[cluster]'",
            code="cli.extra_missing",
        ) from None
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=False)
    try:
        task = ray.remote(num_cpus=cpus, max_calls=1)(_exit_code)
        codes = ray.get([task.remote([*_chain_command(folder), "--chain", str(i)]) for i in range(n_chains)])
    finally:
        if began:
            ray.shutdown()
    if failed := [i for i, code in enumerate(codes) if code]:
        raise NeoGPTError(
            f"{len(failed)} of {n_chains} chains ended badly, the first of them number {failed[0]}",
            "chains that end well",
            f"{shlex.join(_chain_command(folder)[2:])} --chain {failed[0]}",
            code="scaling.run_failed",
        )


def _chain_command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "neogpt", "study", "scaling", "grid", "--folder", str(folder.absolute())]


def _exit_code(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode


def _queued(job: str) -> bool:
    """Whether Slurm still has any part of a job; one that it has forgotten has ended."""
    found = subprocess.run(
        ["squeue", "--noheader", "--jobs", job], capture_output=True, text=True, check=False
    )
    return bool(found.stdout.strip())
