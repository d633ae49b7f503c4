"""Saves that let training go on: the loop copies what a checkpoint holds, a thread writes the copy.

One save is under way at a time. Its error reaches the loop at the next step at the latest, and it is told as
an event, by the loop, only once it is durable.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from neogpt import atomic, checkpoint, retention
from neogpt.config import SaveConfig
from neogpt.errors import NeoGPTError
from neogpt.paths import RunDir
from neogpt.retention import checkpoints_to_come, warning
from neogpt.tokenizer import Tokenizer


class LogEvent(Protocol):
    """How a saver says what happened: a row of the events ledger."""

    def __call__(self, name: str, **values: Any) -> None: ...


class HostStaging:
    """A copy of named tensors in host memory, which the next copy uses again.

    From a GPU it is made by a stream of its own, into pinned memory: `before_update` keeps the tensors as they
    are until it is done, `take` returns a function that waits for it.
    """

    def __init__(self) -> None:
        self._room: dict[str, Tensor] = {}
        self._stream: torch.cuda.Stream | None = None
        self._done: torch.cuda.Event | None = None

    def take(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """The copies by name, and what to call before they are read (from any thread)."""
        copies = {name: self._room_for(name, tensor) for name, tensor in tensors.items()}
        if not any(tensor.is_cuda for tensor in tensors.values()):
            _copy(tensors, copies)
            return copies, lambda: None
        self._stream = self._stream or torch.cuda.Stream()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            _copy(tensors, copies)
            done = self._done = self._stream.record_event()
        kept = list(tensors.values())  # gathered ones are nobody else's

        def wait() -> None:
            done.synchronize()
            kept.clear()

        return copies, wait

    def before_update(self) -> None:
        """What the GPU is given from here on waits for the copy; the processor does not."""
        if self._done:
            torch.cuda.current_stream().wait_event(self._done)
            self._done = None

    def _room_for(self, name: str, tensor: Tensor) -> Tensor:
        kept = self._room.get(name)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            kept = self._room[name] = _host_memory(tensor)
        return kept


def _host_memory(like: Tensor) -> Tensor:
    """Pinned for a GPU's tensor, where the system lets us pin so much."""
    if like.is_cuda:
        with contextlib.suppress(RuntimeError):
            return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
    return torch.empty(like.shape, dtype=like.dtype)


@torch.no_grad()
def _copy(sources: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name], non_blocking=True)


def free_bytes(files: RunDir) -> int:
    """Left on the disk of a run's folder."""
    return shutil.disk_usage(files.root).free


class Saver:
    """Writes a run's checkpoints one after another and deletes those that the settings do not keep."""

    def __init__(self, files: RunDir, config: SaveConfig, tokenizer: Tokenizer, log_event: LogEvent) -> None:
        self.files, self.config, self.tokenizer, self.log_event = files, config, tokenizer, log_event
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: Future[dict[str, Any]] | None = None
        self._mirror = HostStaging()
        self._warned = False

    def save(self, content: checkpoint.Content) -> None:
        """Save `content`: to the end, or (in the background) until it may change; an earlier one ends first.

        Errors: CheckpointError when the disk refuses this save, or refused the earlier one.
        """
        began = time.monotonic()
        self.wait_for_save()
        if not self.config.background:
            self.log_event("save", **self._write(content, began, lambda: None))
            return
        copies, wait = self._mirror.take(content.weights | content.optimizer)
        weights = {name: copies[name] for name in content.weights}
        optimizer = {name: copies[name] for name in content.optimizer}
        content = dataclasses.replace(content, weights=weights, optimizer=optimizer)
        atomic.failpoint("checkpoint.copied")
        self._under_way = self._writer.submit(self._write, content, began, wait)

    def warn_if_short(self, step: int, steps: int, one_bytes: int) -> None:
        """Tell, once, that the saves up to the last step will not fit; a checkpoint takes about `one_bytes`."""
        more = checkpoints_to_come(retention.steps(self.files), self.config, step, steps)
        message = warning(free_bytes(self.files), one_bytes, more)
        if message and not self._warned:
            self._warned = True
            self.log_event("warning", message=message)

    def before_update(self) -> None:
        """To be called before the saved tensors change."""
        self._mirror.before_update()

    def poll(self) -> None:
        """Tell of a save that has become durable meanwhile; CheckpointError when it failed."""
        if self._under_way and self._under_way.done():
            self.wait_for_save()

    def wait_for_save(self) -> None:
        """Wait until nothing is under way; CheckpointError when a save failed."""
        if self._under_way:
            written, self._under_way = self._under_way, None
            self.log_event("save", **written.result())

    def _write(self, content: checkpoint.Content, began: float, wait: Callable[[], None]) -> dict[str, Any]:
        """The checkpoint and then its retention; `seconds` are those from the wish to save until it was durable."""
        stalled = time.monotonic() - began
        wait()
        with checkpoint.disk_errors(self.files, "the ledger"):
            if self.files.metrics.exists():  # a run that saves before its first row has none
                atomic.fsync(self.files.metrics)  # a checkpoint's rows are there whenever it is
        checkpoint.save(self.files, content, self.tokenizer)
        seconds = time.monotonic() - began
        removed = checkpoint.retain(self.files, self.config)
        return {
            "step": content.state.step,
            "seconds": round(seconds, 3),
            "stalled": round(stalled if self.config.background else seconds, 3),
            "removed": removed,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is under way ends well also when the run does not; its own error must then not hide the run's."""
        try:
            if error is None:
                self.wait_for_save()
            else:
                with contextlib.suppress(Exception):
                    self._wait_and_log()
        finally:
            self._writer.shutdown()

    def _wait_and_log(self) -> None:
        try:
            self.wait_for_save()
        except NeoGPTError as cause:
            self.log_event("warning", message=str(cause))
