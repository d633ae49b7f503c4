"""The training loop: one for every objective, on one process or many.

Read `_step` first: micro-batches, their global weight, forward and backward of each, sum, clip, a check that
all processes agree on before the update, learning rate, update, ledger. The rest saves, evaluates, and takes
up a run where it was.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neogpt import checkpoint, ledger, optim, outcomes
from neogpt.config import to_dict as config_values
from neogpt.data.batch import Batch
from neogpt.errors import PreemptedError, RegressedError
from neogpt.ledger import Row
from neogpt.model import GPT2
from neogpt.objectives.batching import n_tokens, on_device
from neogpt.optim.schedule import learning_rate
from neogpt.outcomes import Outcomes
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train import reduce
from neogpt.train.batches import BatchQueue
from neogpt.train.device import autocast, describe, versions
from neogpt.train.monitors.base import NO_SAMPLES, Monitor
from neogpt.train.monitors.data_integrity import DataIntegrityCheck
from neogpt.train.monitors.early_stopping import EarlyStopping
from neogpt.train.monitors.guardrails import Guardrails
from neogpt.train.monitors.step_guard import StepGuard
from neogpt.train.monitors.throughput import Throughput
from neogpt.train.parallel.distributed import World
from neogpt.train.run_log import RunLog, Tracker
from neogpt.train.saver import Saver, free_bytes
from neogpt.train.setup import Start, evaluated
from neogpt.train.signals import StopFlag
from neogpt.train.validation import best_metric_scores, demand_best_metric, sample_losses, validate

_READ_EVERY_S = 1.0
"""How long steps may go unwritten where reading their numbers would make the host wait for its device."""

Evaluate = Callable[[GPT2, Tokenizer, World], tuple[dict[str, float | Outcomes], list[Row]]]
"""(model, tokenizer, world) -> scores by name, and sample rows (question, answer, ...); called on every process,
and what the main one gets counts."""


@dataclass
class StepRecord:
    """A step whose row is to be written; its numbers are still on the device."""

    step: int
    tokens: int
    lr: float
    sums: reduce.Sums
    totals: reduce.Weights
    norm: torch.Tensor

    def row(self, coefficients: reduce.Weights) -> Row:
        """The ledger's row. This waits for the device."""
        found = self.sums.means(coefficients, self.totals)
        return {
            "step": self.step,
            "tokens": self.tokens,
            **found,
            "lr": self.lr,
            "grad_norm": float(self.norm),
        }

    def is_bad(self) -> torch.Tensor:
        """Whether loss or norm is not finite: a bool on the device, equal in all processes."""
        return ~(self.sums.are_finite() & torch.isfinite(self.norm))


class Loop:
    """A started run: what `prepare` gave, and the steps that change it."""

    def __init__(
        self,
        start: Start,
        evaluate: Evaluate | None,
        trackers: Sequence[Tracker],
        stop: StopFlag,
        command: str,
    ) -> None:
        self.start, self.evaluate, self.stop, self.command = start, evaluate, stop, command
        self.run, self.files, self.world = start.run, start.files, start.world
        self.model, self.tokenizer, self.objective = start.model, start.tokenizer, start.objective
        self.strategy, self.named, self.optimizers = start.strategy, start.named, start.optimizers
        self.step, self.tokens = start.step, start.tokens
        self.skipped = sum("skipped" in row for row in start.history)
        self.log = RunLog(self.files, self.world.is_main, trackers)
        self.saver = Saver(self.files, self.run.save, self.tokenizer, self.log.event)
        micros = self.world.share(self.run.batch, self.run.reduction == "exact")
        self.batches = BatchQueue(self.objective, micros)
        self.unread: list[StepRecord] = []
        self._read_at = time.monotonic()
        options = self.run.eval
        self.step_guard = StepGuard(self.run.spike_sigma)
        self.early_stopping = EarlyStopping(options.patience, options.best_metric)
        self.guardrails = Guardrails(
            options.guardrails, options.guardrail_tolerance, self.files.guardrails, self.world.is_main
        )
        self.throughput = Throughput(self.model.config, self.run, processes=self.world.size)
        self.monitors: list[Monitor] = [
            self.step_guard,
            self.early_stopping,
            self.guardrails,
            self.throughput,
            DataIntegrityCheck(self.objective.folders if self.world.local_rank == 0 else ()),
        ]
        for monitor in self.monitors:
            monitor.recall(start.history)

    def for_timing(self, files: RunDir) -> "Loop":
        """The same run in a folder of its own, which nothing stops: for steps that are timed and then taken back."""
        options = dataclasses.replace(self.run.eval, patience=0, guardrails=())
        run = dataclasses.replace(self.run, steps=2**40, spike_sigma=0.0, eval=options)
        start = dataclasses.replace(self.start, run=run, files=files, history=[])
        timed = Loop(start, self.evaluate, (), self.stop, self.command)
        timed.step_guard.patience = 2**62
        timed.monitors = [timed.step_guard]
        return timed

    def run_to_end(self) -> None:
        """Train from the current step to the last, evaluating and saving on the way."""
        for line in [*self.start.messages, *([] if self.step else self.objective.warnings())]:
            self.log.event("warning", message=line)
        self.log.event(
            "resume" if self.step else "start",
            step=self.step,
            steps=self.run.steps,
            command=self.command,
            host=describe(self.run),
            device=self.run.device,
            processes=self.world.size,
            params=self.model.n_params,
            data=self.objective.data_counts,
            epochs=round(self.run.steps * self.run.batch.size / self.objective.n_samples, 2),
        )
        for line in () if self.step else self.objective.notes:
            self.log.event("note", message=line)
        self._warn_if_short()
        began = time.monotonic()
        if not self.start.history and self.guardrails.watched:
            self._save()  # what the run stands for if its first evaluation after this loses a guardrail
        if self._evaluation_due() and not evaluated(self.start.history, self.step):
            self._evaluate()
        while self.step < self.run.steps and not self._is_over():
            stopping = self._step()
            self.saver.poll()
            if self._save_due() or stopping:
                self._save()
            if stopping and self.step < self.run.steps:
                self._wait_for_save()
                self.log.event("preempted", step=self.step, signal=self.stop.raised)
                raise PreemptedError(
                    f"stopped by a signal at step {self.step} of {self.run.steps}; everything is saved",
                    hint="the same command with --resume auto",
                    code="run.preempted",
                )
            if self._evaluation_due():
                self._evaluate()
                self.throughput.skip()
        self._wait_for_save()
        if self.step < self.run.steps:
            self.log.event("stopped early", step=self.step, best=self.early_stopping.best_step)
        if self.world.is_main:
            checkpoint.retain(self.files, self.run.save)
        seconds = round(time.monotonic() - began, 3)
        self.log.event("end", step=self.step, seconds=seconds, skipped=self.skipped)

    def _is_over(self) -> bool:
        """Whether a monitor ends the run before its last step; no run ends well with an error of one."""
        is_last = self.step + 1 == self.run.steps
        verdicts = [monitor.verdict(is_last) for monitor in self.monitors]  # all: one may hold an error
        return any(verdicts)

    def _step(self) -> bool:
        """One update (or a skipped one); True when some process was asked to stop."""
        batches, weights = self.batches.get(self.step, self.run.steps)
        totals = reduce.total_denominators(weights, self.world)
        rows = []
        for number, batch in enumerate(batches, 1):
            with self.strategy.micro_batch(last=number == len(batches)):
                with autocast(self.run):
                    terms = self.strategy.loss(on_device(batch, self.world.device))
                reduce.scaled(terms, self.objective.coefficients, totals).backward()
            rows.append(terms)
        gradient = self.strategy.gradient()
        sums = reduce.Sums.of(rows).gather(self.world)
        norm = self.strategy.clip(gradient, self.run.optim.max_grad_norm)
        lr = learning_rate(self.step, self.run.steps, self.run.optim)
        tokens, stopping, is_read = self._agree(batches)
        record = StepRecord(self.step + 1, self.tokens + tokens, lr, sums, totals, norm)
        self._update(gradient, record)
        self.step, self.tokens = record.step, record.tokens
        self.unread.append(record)
        if is_read:
            self._write_rows()
        return stopping

    def _agree(self, batches: list[Batch]) -> tuple[int, bool, bool]:
        """Over all processes: tokens of the step, whether one was asked to stop, whether rows are written now."""
        waited_s = time.monotonic() - self._read_at if self.world.is_main else 0.0
        is_read = not self._runs_ahead or waited_s > _READ_EVERY_S or self.step + 1 == self.run.steps
        mine = [sum(map(n_tokens, batches)), bool(self.stop), is_read]
        tokens, stopping, is_read = self.world.gather(np.array([mine], np.float64)).sum(0).tolist()
        return round(tokens), bool(stopping), bool(is_read)

    @property
    def _runs_ahead(self) -> bool:
        """Whether the device decides on a skip, and rows are written later; spikes are found on the host."""
        return self.world.runs_ahead and not self.run.spike_sigma

    def _update(self, gradient: list[torch.Tensor], record: StepRecord) -> None:
        """Apply the gradient, unless the step is to be skipped: decided before, and equally, in all processes."""
        skip = record.is_bad().float() if self._runs_ahead else None
        if skip is None and self._skip_reason(record.row(self.objective.coefficients)):
            return
        self.saver.before_update()
        for (_, parameter), tensor in zip(self.named, gradient, strict=True):
            parameter.grad = tensor
        optim.set_lr(self.optimizers, record.lr)
        for optimizer in self.optimizers:
            optimizer.found_inf = skip
            optimizer.step()
        for _, parameter in self.named:
            parameter.grad = None

    def _skip_reason(self, row: Row) -> str:
        return self.step_guard.skip_reason(row["loss"], row["grad_norm"])

    def _write_rows(self) -> None:
        """Read the numbers of the steps since the last time, and write their rows. This waits for the device."""
        records, self.unread, self._read_at = self.unread, [], time.monotonic()
        for record in records:
            row = record.row(self.objective.coefficients)
            reason = self._skip_reason(row)
            self._write({**row, "skipped": reason} if reason else row)
            if reason:
                self.skipped += 1
                self.log.event("skipped", step=record.step, reason=reason, total=self.skipped)
            self.step_guard.verdict()
            if self.throughput.latest and self.world.is_main:
                disk = free_bytes(self.files)
                self.log.event("progress", **self.throughput.latest, disk_free_bytes=disk)

    def _write(self, row: Row, samples: Mapping[str, Outcomes] = NO_SAMPLES) -> Row:
        """The row as the monitors want it, noted by them and written."""
        for monitor in self.monitors:
            row = monitor.note(row, samples)
        self.log.row(row)
        return row

    def _save_due(self) -> bool:
        every = self.run.save.every
        due = self.step == self.run.steps or bool(every and self.step % every == 0)
        chooses = (
            self.run.eval.patience or self.run.eval.guardrails
        )  # any of them may be what the run stands for
        return due or bool(chooses and self._evaluation_due())

    def _evaluation_due(self) -> bool:
        every = self.run.eval.every
        return self.step in (0, self.run.steps) or bool(every and self.step % every == 0)

    def _save(self) -> None:
        """Save this step, in the background where that is wanted; the other processes wait for the copy."""
        self._write_rows()
        weights, tensors = self.strategy.to_save(optim.state_tensors(self.optimizers, self.named))
        if self.world.is_main:
            own = self.objective.state(self.step)
            tensors |= {f"{checkpoint.OBJECTIVE}{name}": tensor for name, tensor in own.items()}
            config = config_values(self.run)
            state = checkpoint.TrainerState(
                self.step,
                self.tokens,
                config,
                self.objective.data_hash,
                self.start.base_model_hash,
                versions(),
            )
            self.saver.save(checkpoint.Content(state, self.model.config, weights, tensors))
        self.world.barrier()
        self.throughput.skip()

    def _warn_if_short(self) -> None:
        if self.world.is_main:  # three numbers a parameter: itself and two moments
            size = 3 * sum(p.numel() * p.element_size() for _, p in self.named)
            self.saver.warn_if_short(self.step, self.run.steps, size)

    def _wait_for_save(self) -> None:
        """No process goes on before the last save is durable."""
        self.saver.wait_for_save()
        self.world.barrier()

    def _evaluate(self) -> None:
        """Held-out loss and evals on all processes; one ledger row."""
        self._write_rows()
        began = time.monotonic()
        model = self.strategy.whole_model()
        row: Row = {"step": self.step, **validate(model, self.objective, self.run, self.world)}
        found: dict[str, float | Outcomes] = {}
        if "val_loss" in self.guardrails.watched:
            losses = sample_losses(model, self.objective, self.run, self.world)
            found |= {"val_loss": losses} if losses else {}
        samples: list[Row] = []
        if self.step or self.run.init_from:
            with torch.inference_mode(), autocast(self.run):
                found |= self.objective.eval_metrics() if self.world.is_main else {}
                if self.evaluate:
                    more, samples = self.evaluate(model, self.tokenizer, self.world)
                    found |= more
            self.log.samples(self.step, samples)
        row |= {name: value for name, value in outcomes.means(found).items() if name not in row}
        if self.world.is_main:  # on disk before anybody waits
            row = self._write(row, outcomes.samples(found))
        scores = best_metric_scores(row, self.run, self.world)
        if not self.world.is_main:
            row = self._write({**row, **scores}, {})
        self.log.event("eval", step=self.step, seconds=round(time.monotonic() - began, 3))
        self._agree_on_guardrails(row)
        if self.step or self.run.init_from:
            demand_best_metric(row, self.run, self.world)

    def _agree_on_guardrails(self, row: Row) -> None:
        """RegressedError in every process where the main one's row lost a guardrail; what was saved is durable then."""
        lost = self.world.gather(np.array([[float(ledger.REGRESSED in row)]])).any()
        if lost:
            self._wait_for_save()
        self.guardrails.verdict()
        if lost:
            raise RegressedError(
                f"step {self.step}: a guardrail was lost; the main process says which",
                code="run.guardrail_lost",
            )
