"""Tokenizing on an engine that spans machines: datatrove's executors on one machine, on Slurm or on Ray.

datatrove (Penedo et al. 2024, https://github.com/huggingface/datatrove) hands each of its tasks a share of our
parts; a part is written as always, so the bytes are those of one process. Every machine must see the folder of
the data set, and the input or the Hub's cache, under the same path.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from neogpt.data import tokenize, workers
from neogpt.data.tokenize import Task
from neogpt.errors import ConfigError, NeoGPTError
from neogpt.tokenizer import Tokenizer

_POLL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """An engine, and into how many tasks the work is cut."""

    executor: Literal["local", "slurm", "ray"]
    tasks: int
    partition: str = ""
    time: str = "24:00:00"
    memory_gb: float = 2

    def run(
        self,
        tasks: list[Task],
        tokenizer: Tokenizer,
        n_workers: int,
        done: Callable[[Task], None],
        release: Callable[[str], None] = lambda _: None,
    ) -> None:
        """As `workers.run`, with at most `n_workers` tasks at once (0: no limit but the engine's)."""
        if not tasks:
            return
        logs = tasks[0].folder.parent / "datatrove"
        shares = min(self.tasks, len(tasks))
        common = {
            "pipeline": [Tokenize(tasks, tokenizer)],
            "tasks": shares,
            "workers": n_workers or -1,
            "logging_dir": str(logs),
            "skip_completed": False,  # a part's own manifest says whether it is there
        }
        {"local": self._local, "slurm": self._slurm, "ray": self._ray}[self.executor](common, tasks)
        if missing := [task for task in tasks if not tokenize.is_done(task)]:
            raise NeoGPTError(
                f"{len(missing)} of {len(tasks)} parts were not made, the first of them {missing[0].parts[0]}",
                "tasks that end well",
                f"see {logs}, then the same command: what is made is kept",
                code="data.parts_missing",
            )
        for task in tasks:
            done(task)

    def _local(self, common: dict[str, Any], tasks: list[Task]) -> None:
        if common["workers"] == -1:
            common["workers"] = min(common["tasks"], os.cpu_count() or 1)
        LocalPipelineExecutor(**common, start_method="spawn").run()

    def _ray(self, common: dict[str, Any], tasks: list[Task]) -> None:
        """On the cluster that RAY_ADDRESS or `ray start` names; without one, on one started here."""
        import ray  # extra: cluster

        if began := not ray.is_initialized():
            _connect(ray)
        try:
            RayPipelineExecutor(**common, mem_per_cpu_gb=self.memory_gb).run()
        finally:
            if began:
                ray.shutdown()

    def _slurm(self, common: dict[str, Any], tasks: list[Task]) -> None:
        """Submit an array job and wait until Slurm has none of it left."""
        executor = SlurmPipelineExecutor(
            **common,
            time=self.time,
            partition=self.partition,
            mem_per_cpu_gb=max(1, round(self.memory_gb)),
            qos="",
            job_name="neogpt-data",
            env_command=f'export PATH="{Path(sys.executable).parent}:$PATH" TOKENIZERS_PARALLELISM=false',
        )
        try:
            executor.run()
            while _queued(executor.job_id):
                time.sleep(_POLL_S)
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no command {error.filename}",
                "a machine where Slurm is",
                code="cli.no_such_command",
            ) from None
        except subprocess.CalledProcessError as error:
            raise ConfigError(
                f"{error.cmd[0]} refused the job (exit code {error.returncode})",
                "its message above",
                code="cli.job_refused",
            ) from None


def _connect(ray: Any) -> None:
    try:
        ray.init(log_to_driver=False)
    except Exception as error:  # Ray raises bare ones
        raise NeoGPTError(
            f"Ray gave no cluster: {str(error)[:300]}",
            "one that `ray start` began, or a machine quick enough to start one in 30 s",
            "RAY_ADDRESS=HOST:PORT, or the same command again",
            code="cli.no_cluster",
        ) from None


def _queued(job: str) -> bool:
    """Whether Slurm still has any part of a job; one that it has forgotten has ended."""
    found = subprocess.run(
        ["squeue", "--noheader", "--jobs", job], capture_output=True, text=True, check=False
    )
    return bool(found.stdout.strip())


class Tokenize(PipelineStep):
    """A step that makes the parts of its share which are not there yet; no documents pass through it."""

    name = "NeoGPT"
    type = "TOKENIZER"

    def __init__(self, tasks: list[Task], tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tasks, self.tokenizer = tasks, tokenizer

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Neighbouring parts stay together, since they often lie in one file."""
        first, last = (len(self.tasks) * i // world_size for i in (rank, rank + 1))
        with workers.at_work(self.tasks[0].folder.parent):
            for task in self.tasks[first:last]:
                if not tokenize.is_done(task):
                    workers.fetch(task)
                    tokenize.tokenize(task, self.tokenizer)
                self.stat_update("parts", value=1)
        return data
