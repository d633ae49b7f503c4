"""The training loop: one for every objective, on one process or many.

Read `_step` first: micro-batches, their global weight, forward and backward of each, sum, clip, a check that
all processes agree on before the update, learning rate, update, ledger. The rest saves, evaluates, and takes
up a run where it was.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from neogpt import atomic, checkpoint, ledger, optim
from neogpt.config import WATCHED, AnyRun
from neogpt.config import to_dict as config_values
from neogpt.data.order import draw_seed
from neogpt.errors import PreemptedError
from neogpt.ledger import Row
from neogpt.model import GPT2
from neogpt.objectives._base import n_tokens, on_device
from neogpt.optim._schedule import learning_rate
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train import horizon, sums
from neogpt.train.canaries import Canaries
from neogpt.train.device import autocast, describe, keep_freed_memory, pick_device, versions
from neogpt.train.distributed import World, connected, world_from_environment
from neogpt.train.guard import Guard
from neogpt.train.patience import Patience
from neogpt.train.proof import Proof
from neogpt.train.saver import Saver, free_bytes
from neogpt.train.signals import StopFlag, stop_flag
from neogpt.train.speed import Stopwatch
from neogpt.train.start import Start, evaluated, prepare

Evaluate = Callable[[GPT2, Tokenizer, World], tuple[dict[str, float], list[Row]]]
"""(model, tokenizer, world) -> scores by name, and sample rows (question, answer, ...); called on every process,
and what the main one gets counts."""


class Listener(Protocol):
    """Somebody who watches a run: a progress line, a tracker."""

    def row(self, row: Row) -> None:
        """A new row of the metrics ledger."""

    def event(self, event: Row) -> None:
        """A new row of the events ledger."""


def train(
    run: AnyRun,
    folder: Path,
    resume: str = "",
    evaluate: Evaluate | None = None,
    listeners: Sequence[Listener] = (),
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
            loop = Loop(start, evaluate, listeners, stop, command)
            with loop.saver:
                horizon.settle(loop)
                loop.run_to_end()


@contextlib.contextmanager
def _locked(files: RunDir, world: World) -> Iterator[None]:
    """The main process holds the run; CheckpointError where its folder cannot be written."""
    with contextlib.ExitStack() as held:
        if world.is_main:
            with checkpoint.disk_errors(files, "the run's files"):
                held.enter_context(atomic.lock(files.lock, f"the run {files.root}"))
        yield


class Loop:
    """A started run: what `prepare` gave, and the steps that change it."""

    def __init__(
        self,
        start: Start,
        evaluate: Evaluate | None,
        listeners: Sequence[Listener],
        stop: StopFlag,
        command: str,
    ) -> None:
        self.run, self.files, self.world = start.run, start.files, start.world
        self.model, self.tokenizer, self.objective = start.model, start.tokenizer, start.objective
        self.layout, self.notes = start.layout, start.notes
        self.named, self.optimizers = start.named, start.optimizers
        self.step, self.tokens, self.origin = start.step, start.tokens, start.origin
        self.evaluate, self.listeners, self.stop, self.command = evaluate, listeners, stop, command
        self.micros = self.world.share(self.run.batch, self.run.reduction == "exact")
        self.guard = Guard(self.run.spike_sigma)
        self.guard.recall(start.history)
        self.evaluated = evaluated(start.history, self.step)
        self.patience = Patience(self.run.eval.patience, start.history, self.run.eval.watch)
        self.canaries = Canaries(self.run.eval.canaries, self.run.eval.canary_drop)
        self.canaries.recall(start.history)
        self.skipped = sum("skipped" in row for row in start.history)
        self.watch = Stopwatch(self.model.config, self.run, processes=self.world.size)
        self.saver = Saver(self.files, self.run.save, self.tokenizer, self._event)
        self.proof = Proof(self.objective.folders if self.world.local_rank == 0 else ())

    def run_to_end(self) -> None:
        """Train from the current step to the last, evaluating and saving on the way."""
        for line in [*self.notes, *([] if self.step else self.objective.doubts())]:
            self._event("warning", message=line)
        self._event(
            "resume" if self.step else "start",
            step=self.step,
            steps=self.run.steps,
            command=self.command,
            host=describe(self.run),
            device=self.run.device,
            processes=self.world.size,
            params=self.model.n_params,
            data=self.objective.notes,
            epochs=round(self.run.steps * self.run.batch.size / self.objective.n_samples, 2),
        )
        self._warn_if_short()
        began = time.monotonic()
        if self._evaluation_due() and not self.evaluated:
            self._evaluate()
        while self.step < self.run.steps and not self.patience.is_over:
            self.proof.check(wait=self.step + 1 == self.run.steps)  # no run ends well on damaged data
            stopping = self._step()
            if (progress := self.watch.lap(self.step, self.tokens)) and self.world.is_main:
                self._event("progress", **progress, disk_free_bytes=free_bytes(self.files))
            self.saver.poll()
            if self._save_due() or stopping:
                self._save()
            if stopping and self.step < self.run.steps:
                self._settle()
                self._event("preempted", step=self.step, signal=self.stop.raised)
                raise PreemptedError(
                    f"stopped by a signal at step {self.step} of {self.run.steps}; everything is saved",
                    hint="the same command with --resume auto",
                )
            if self._evaluation_due():
                self._evaluate()
                self.watch.skip()
        self._settle()
        if self.step < self.run.steps:
            self._event("stopped early", step=self.step, best=self.patience.best_step)
        if self.world.is_main:
            checkpoint.retain(self.files, self.run.save)
        seconds = round(time.monotonic() - began, 3)
        self._event("end", step=self.step, seconds=seconds, skipped=self.skipped)

    def _step(self) -> bool:
        """One update (or a refused one) and its ledger row; True when some process was asked to stop."""
        batches = [self.objective.batch(self.step, micro) for micro in self.micros]
        weights = [self.objective.weights(batch) for batch in batches]
        totals = sums.of_weights(weights, self.world)
        rows = []
        for micro, batch in zip(self.micros, batches, strict=True):
            torch.manual_seed(draw_seed(self.run.seed, self.step, micro))
            with self.layout.micro_batch(last=micro == self.micros[-1]):
                with autocast(self.run):
                    terms = self.layout.loss(on_device(batch, self.world.device))
                sums.scaled(terms, self.objective.coefficients, totals).backward()
            rows.append(sums.Row(terms, n_tokens(batch), bool(self.stop)))
        gradient = self.layout.gradient()
        found = sums.merge(rows, self.objective.coefficients, totals, self.world)
        norm = self.layout.clip(gradient, self.run.optim.clip)
        lr = learning_rate(self.step, self.run.steps, self.run.optim)
        refused = self.guard.check(found.metrics["loss"], norm)
        if not refused:
            self._update(gradient, lr)
        self.step, self.tokens = self.step + 1, self.tokens + found.tokens
        row = {"step": self.step, "tokens": self.tokens, **found.metrics, "lr": lr, "grad_norm": norm}
        self._row({**row, "skipped": refused} if refused else row)
        if refused:
            self.skipped += 1
            self._event("skipped", step=self.step, reason=refused, total=self.skipped)
        self.guard.give_up(self.step)
        return found.stopping

    def _update(self, gradient: list[torch.Tensor], lr: float) -> None:
        self.saver.before_update()
        for (_, parameter), tensor in zip(self.named, gradient, strict=True):
            parameter.grad = tensor
        optim.set_lr(self.optimizers, lr)
        for optimizer in self.optimizers:
            optimizer.step()
        for _, parameter in self.named:
            parameter.grad = None

    def _save_due(self) -> bool:
        every = self.run.save.every
        due = self.step == self.run.steps or bool(every and self.step % every == 0)
        return due or bool(self.run.eval.patience and self._evaluation_due())  # any of them may be the best

    def _evaluation_due(self) -> bool:
        every = self.run.eval.every
        return self.step in (0, self.run.steps) or bool(every and self.step % every == 0)

    def _save(self) -> None:
        """Save this step, in the background where that is wanted; the other processes wait for the copy."""
        weights, tensors = self.layout.to_save(optim.state_tensors(self.optimizers, self.named))
        if self.world.is_main:
            own = self.objective.state(self.step)
            tensors |= {f"{checkpoint.OBJECTIVE}{name}": tensor for name, tensor in own.items()}
            config = config_values(self.run)
            state = checkpoint.TrainerState(
                self.step, self.tokens, config, self.objective.data_hash, self.origin, versions()
            )
            self.saver.save(checkpoint.Content(state, self.model.config, weights, tensors))
        self.world.barrier()
        self.watch.skip()

    def _warn_if_short(self) -> None:
        if self.world.is_main:  # three numbers a parameter: itself and two moments
            size = 3 * sum(p.numel() * p.element_size() for _, p in self.named)
            self.saver.warn_if_short(self.step, self.run.steps, size)

    def _settle(self) -> None:
        """No process goes on before the last save is durable."""
        self.saver.settle()
        self.world.barrier()

    def _evaluate(self) -> None:
        """Held-out loss and evals on all processes; one ledger row."""
        began = time.monotonic()
        model = self.layout.whole_model()
        row: Row = {"step": self.step, **self._validation(model)}
        if self.step or self.run.init_from:
            with torch.inference_mode(), autocast(self.run):
                row.update(self.objective.examine() if self.world.is_main else {})
                scores, samples = (
                    self.evaluate(model, self.tokenizer, self.world) if self.evaluate else ({}, [])
                )
            row.update(scores)
            if self.world.is_main:
                self._write_samples(samples)
        self._row(row)
        self._event("eval", step=self.step, seconds=round(time.monotonic() - began, 3))
        if self.world.is_main:
            self.canaries.note(row)
        self.world.barrier()
        self.patience.note({"step": self.step, **self._watched(row)})

    def _watched(self, row: Row) -> Row:
        """What the main process's row has of the watched scores, in every process: only that one has them all."""
        names = ledger.signs(self.run.eval.watch)
        if self.world.is_main and (self.step or self.run.init_from) and self.run.eval.watch != WATCHED:
            ledger.demand(row, names, "score to watch (eval.watch),")
        values = self.world.gather(np.array([[float(name in row), row.get(name, 0.0)] for name in names]))
        return {name: float(value) for name, (there, value) in zip(names, values, strict=False) if there}

    def _validation(self, model: GPT2) -> Row:
        """Loss and metrics over the first held-out samples: the same whatever the number of processes."""
        n = min(self.objective.n_validation, self.run.eval.val_samples)
        chunks = (
            np.split(np.arange(n), range(self.objective.micro_size, n, self.objective.micro_size))
            if n
            else []
        )
        alone = len(chunks) < self.world.size  # too few to share: everybody computes all
        rows: list[sums.Row | None] = []
        weights = []
        with torch.no_grad(), autocast(self.run):
            for i, ids in enumerate(chunks):
                batch = self.objective.validation_batch(ids)
                weights.append(self.objective.weights(batch))
                mine = alone or i % self.world.size == self.world.rank
                terms = self.objective.loss(model, on_device(batch, self.world.device)) if mine else None
                rows.append(sums.Row(terms) if terms else None)
        world = World() if alone else self.world
        return sums.merge_validation(rows, weights, self.objective.coefficients, world) if n else {}

    def _write_samples(self, samples: list[Row]) -> None:
        """Before the evaluation's row, which says on resume that they are there."""
        with checkpoint.disk_errors(self.files, "the ledger"):
            for sample in samples:
                ledger.append(self.files.samples, {"step": self.step, **sample})
            if samples:
                atomic.fsync(self.files.samples)

    def _row(self, row: Row) -> None:
        """A row of the metrics ledger; NaN and infinities are null there."""
        if self.world.is_main:
            row = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            with checkpoint.disk_errors(self.files, "the ledger"):
                ledger.append(self.files.metrics, row)
            for listener in self.listeners:
                listener.row(row)

    def _event(self, name: str, **values: Any) -> None:
        if self.world.is_main:
            event = {"time": round(time.time(), 3), "event": name, **values}
            with checkpoint.disk_errors(self.files, "the ledger"):
                ledger.append(self.files.events, event)
            for listener in self.listeners:
                listener.event(event)
