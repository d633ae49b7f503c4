"""Faults that a test puts into a training process before it starts (see training.run_here)."""

import ctypes
import itertools
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
Place = tuple[int, int]
"""(step, micro-batch), both from 0."""


def non_finite(places: list[Place], value: float) -> None:
    """The loss of these micro-batches becomes `value` (NaN or infinity)."""
    scale_losses(dict.fromkeys(map(tuple, places), value))


def spikes(places: list[Place], factor: float) -> None:
    """The loss of these micro-batches is multiplied."""
    scale_losses(dict.fromkeys(map(tuple, places), factor))


def scale_losses(factors: dict[Any, float]) -> None:
    """Multiply the loss of the pretraining micro-batches at these places."""
    from neogpt.objectives.pretrain.objective import Pretrain

    batch, loss = Pretrain.batch, Pretrain.loss

    def noting_batch(self: Any, step: int, micro: int) -> Any:
        made = batch(self, step, micro)
        made.extra["place"] = np.array([step, micro])
        return made

    def scaled_loss(self: Any, model: Any, micro_batch: Any) -> Any:
        terms = loss(self, model, micro_batch)
        place = micro_batch.extra.get("place")
        factor = 1.0 if place is None else factors.get(tuple(place.tolist()), 1.0)
        terms.loss_sum = {name: value * factor for name, value in terms.loss_sum.items()}
        return terms

    Pretrain.batch = noting_batch  # type: ignore[method-assign]
    Pretrain.loss = scaled_loss  # type: ignore[method-assign]


def held(step: int, folder: str = "") -> None:
    """After `step` steps the run waits for a file `go` in its folder; where none is named, for a signal to stop."""
    from neogpt.train.loop import Loop

    do = Loop._step

    def goes(self: Any) -> bool:
        return Path(folder, "go").exists() if folder else bool(self.stop)

    def held_step(self: Any) -> bool:
        is_profiling = folder and self.files.root != Path(folder)
        while self.step >= step and not is_profiling and not goes(self):
            time.sleep(0.002)
        return do(self)

    Loop._step = held_step  # type: ignore[method-assign]


def killed_at(place: str, hit: int) -> None:
    """A power cut when an instant of saving is reached for the `hit`-th time."""
    from neogpt import atomic

    seen = 0

    def failpoint(name: str) -> None:
        nonlocal seen
        seen += name == place
        if seen == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    atomic.failpoint = failpoint


def killed_behind(place: str, hit: int, rows: int, metrics: str) -> None:
    """A power cut at that instant of a save, once the loop has written that many rows of its ledger."""
    from neogpt import atomic

    seen = 0

    def failpoint(name: str) -> None:
        nonlocal seen
        seen += name == place
        if name == place and seen == hit:
            while Path(metrics).read_bytes().count(b"\n") < rows:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)

    atomic.failpoint = failpoint


def slow_to_write(seconds: float) -> None:
    """Each instant of a save takes this much longer."""
    from neogpt import atomic

    atomic.failpoint = lambda name: time.sleep(seconds)


def dies_in(rank: int, place: str, hit: int) -> None:
    """This process is killed when it enters that function of the loop, its saver or its log for the `hit`-th time."""
    from neogpt.train import loop
    from neogpt.train.run_log import RunLog
    from neogpt.train.saver import Saver

    owner: Any = next(owner for owner in (Saver, RunLog, loop.Loop, loop) if hasattr(owner, place))
    function, seen = getattr(owner, place), 0

    def deadly(*args: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == hit and int(os.environ["RANK"]) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    setattr(owner, place, deadly)


def small_files(size: int) -> None:
    """No file may grow beyond `size` bytes: a write fails with EFBIG, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def small_disk(folder: str, size: int) -> None:
    """Mount a file system of `size` bytes at `folder`, seen by this process alone; OSError where that is forbidden."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size}".encode()):
        raise OSError(ctypes.get_errno(), "mount")


def late(rank: int, metrics: str) -> None:
    """This process begins its loop when the ledger has a row."""
    from neogpt.train.loop import Loop

    begin = Loop.__init__

    def begin_late(self: Any, *args: Any) -> None:
        row = Path(metrics)
        while int(os.environ["RANK"]) == rank and not (row.exists() and row.read_bytes()):
            time.sleep(0.002)
        begin(self, *args)

    Loop.__init__ = begin_late  # type: ignore[method-assign]


def noted_references(path: str) -> None:
    """Each computation of a reference's log-probabilities writes this process's rank to `path`."""
    from neogpt.objectives.dpo import reference_cache

    compute = reference_cache._compute

    def noted(*args: Any) -> Any:
        with open(path, "a") as file:
            file.write(os.environ["RANK"] + "\n")
        return compute(*args)

    reference_cache._compute = noted


def float32_muon() -> None:
    """Muon's iterations in float32: in bfloat16 the last bit of a gradient can be seen in the update."""
    import torch

    from neogpt.optim import muon

    orthogonal = muon.orthogonal

    def wide(m_NRC: Any, dtype: Any) -> Any:
        return orthogonal(m_NRC, torch.float32)

    muon.orthogonal = wide


def noted_sums(path: str, bucket_bytes: int) -> None:
    """Each sum over processes writes a line: its name, and whether a backward was running."""
    import torch
    import torch.distributed as dist

    from neogpt.train.parallel import overlapped

    overlapped._BUCKET_BYTES = bucket_bytes

    def noted(name: str) -> None:
        call = getattr(dist, name)

        def noting(*args: Any, **options: Any) -> Any:
            place = "backward" if torch._C._current_graph_task_id() >= 0 else "outside"
            with open(f"{path}.{os.environ['RANK']}", "a") as file:
                file.write(f"{name} {place}\n")
            return call(*args, **options)

        setattr(dist, name, noting)

    for name in ("all_reduce", "reduce_scatter_single"):
        noted(name)


def ticking_clocks() -> None:
    """The clock of the horizon goes on by a second whenever it is read; the second process's by three."""
    from neogpt.train import time_budget

    ticks = itertools.count(step=1 + 2 * int(os.environ["RANK"]))
    time_budget._clock = lambda: float(next(ticks))


def deprecations() -> None:
    """Not a fault: PyTorch's compiler imports modules of PyTorch that call themselves deprecated."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def documented_only() -> None:
    """PyTorch as if it had nothing that its documentation has not (torch_compat.py)."""
    from neogpt import torch_compat
    from neogpt.optim import muon
    from neogpt.train.parallel import distributed

    assert muon.foreach_lerp is torch_compat.foreach_lerp
    other = {name: value for name, value in vars(torch_compat).items() if name.startswith("_each_")}
    modules = [module for name, module in sys.modules.items() if name.startswith("neogpt.")]
    replaced = 0
    for name, value in other.items():
        for module in modules:
            if hasattr(module, usual := name.replace("_each", "foreach")):
                setattr(module, usual, value)
                replaced += module is not torch_compat
    for name in ("adamw", "_softmax_backward", "_keeps_graph", "_matmul"):
        setattr(torch_compat, name, None)
    distributed.rendezvous = None
    print(f"documented ways: {replaced} in their places", flush=True)
    assert replaced >= 8, replaced
