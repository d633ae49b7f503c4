"""Processes that train together, under torchrun's environment; alone when there is none.

Process r of W computes the micro-batches r*M/W .. (r+1)*M/W - 1 of a step's
M, so their results stand in micro-batch order when they are gathered in process order.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from neogpt.batching import validate_sharing
from neogpt.config import BatchConfig
from neogpt.errors import ConfigError, NeoGPTError
from neogpt.train.parallel.tree import Gradient, tree_sum

try:
    from torch.distributed.rendezvous import rendezvous
except ImportError:  # it stands in no documentation: then peers have the patience of all else to come
    rendezvous = None  # type: ignore[assignment]

_PATIENCE = timedelta(days=7)
"""How long a process waits while the main one prepares data, saves or evaluates; a peer's death ends it at once."""
_MEETING = timedelta(minutes=10)
"""How long it waits at the beginning for the others to come."""


class World:
    """This process among its peers."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        self.device = torch.device("cpu")
        self.patient: dist.ProcessGroup | None = None

    @property
    def runs_ahead(self) -> bool:
        """Whether the device works off a queue, so that reading a number from it makes the host wait."""
        return self.device.type == "cuda"

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, batch: BatchConfig, exact: bool = True) -> range:
        """The micro-batch numbers of this process: as many for each, whole subtrees of the sum where it is exact.

        Errors: ConfigError names the numbers of processes, or of micro-batches, that work.
        """
        validate_sharing(batch, self.size, exact)
        share = batch.micro_batches // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """float64 (n, k) of each process -> (size * n, k), in process order, the same everywhere.

        Between hosts alone: the processes wait for each other, not for their GPUs.
        """
        if self.size == 1:
            return rows
        mine = torch.from_numpy(np.ascontiguousarray(rows, np.float64))
        return self._gathered(mine, self.patient).numpy()

    def gather_tensor(self, rows_NK: Tensor) -> Tensor:
        """(n, k) on the device of each process -> (size * n, k) there; nobody waits for a GPU."""
        return rows_NK if self.size == 1 else self._gathered(rows_NK.contiguous(), None)

    def _gathered(self, mine: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine, group=group)
        return torch.cat(parts)

    def sum_exact(self, gradient: Gradient) -> Gradient:
        """The sum over processes by the fixed tree, the same bits everywhere; writes into `gradient`.

        Each process adds up one slice of everybody's gradient, then all slices are gathered: as much traffic as
        a ring all-reduce.
        """
        if self.size == 1:
            return gradient
        flat = torch.cat([tensor.reshape(-1) for tensor in gradient])
        width = -(-flat.numel() // self.size)
        sent = flat.new_zeros(self.size * width)
        sent[: flat.numel()] = flat
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent)
        total = tree_sum(list(received.view(self.size, width).unbind(0)))
        slices = [torch.empty_like(total) for _ in range(self.size)]
        dist.all_gather(slices, total)
        return _unflatten(torch.cat(slices), gradient)

    def barrier(self) -> None:
        """Wait for everybody, however long one of them works on its own."""
        if self.size > 1:
            dist.barrier(self.patient)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process, then in the others (they find what it prepared)."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()


def _unflatten(flat: Tensor, like: Gradient) -> Gradient:
    parts = flat[: sum(t.numel() for t in like)].split([t.numel() for t in like])
    for tensor, part in zip(like, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
    return like


def world_from_environment() -> World:
    """RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE as torchrun sets them."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    defaults = ("0", "1", "0", os.environ.get("WORLD_SIZE", "1"))
    return World(*(int(os.environ.get(name, default)) for name, default in zip(names, defaults, strict=True)))


@contextlib.contextmanager
def connected(world: World, device: str) -> Iterator[World]:
    """`world` with its device set and its process group up; the group ends with the block.

    Errors: ConfigError without torchrun's environment; NeoGPTError when another process ends before this one.
    """
    kind = torch.device(device).type
    if kind == "cuda" and torch.device(device).index is None and world.size > 1:
        world.device = torch.device("cuda", world.local_rank)
    else:
        world.device = torch.device(device)
    if kind == "cuda":
        torch.cuda.set_device(world.device)
    if world.size == 1:
        yield world
        return
    _connect(world, "nccl" if kind == "cuda" else "gloo")
    try:
        yield world
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise NeoGPTError(
            f"process {world.rank} of {world.size} stops, because another one has ended or cannot be reached",
            "all of them until the run ends",
            "the message of the one that ended says why",
            code="run.process_lost",
        ) from error
    finally:
        dist.destroy_process_group()


def _connect(world: World, backend: str) -> None:
    try:
        place: dict[str, Any] = {"init_method": "env://"}
        if rendezvous:  # type: ignore[truthy-function]
            store, rank, size = next(rendezvous("env://", timeout=_MEETING))
            store.set_timeout(_PATIENCE)
            place = {"store": store, "rank": rank, "world_size": size}
        if backend == "gloo":  # one group for all: two gloo groups side by side were seen to hang, rarely
            dist.init_process_group(backend, timeout=_PATIENCE, **place)
            return
        dist.init_process_group(backend, timeout=_MEETING, **place)
        world.patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (ValueError, dist.DistError) as error:
        address = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise ConfigError(
            f"WORLD_SIZE is {world.size}, but the processes cannot find each other at {address}: {error}",
            "the environment that torchrun sets, a port that is free, and all processes at about the same time",
            f"torchrun --nproc-per-node {world.size} -m -- neogpt ..., or another MASTER_PORT",
            code="run.no_rendezvous",
        ) from error
