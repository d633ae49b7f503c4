"""The training loop: one for every objective, on one process or many.

Read `_step` first: micro-batches, their global weight, forward and backward of each, sum, clip, a check that
all processes agree on before the update, learning rate, update, ledger. The rest saves, evaluates, and takes
up a run where it was.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from neogpt import checkpoint, ledger, optim, outcomes
from neogpt.config import to_dict as config_values
from neogpt.data.permutation import draw_seed
from neogpt.errors import PreemptedError, RegressedError
from neogpt.ledger import Row
from neogpt.model import GPT2
from neogpt.objectives.batching import n_tokens, on_device
from neogpt.optim.schedule import learning_rate
from neogpt.outcomes import Outcomes
from neogpt.tokenizer import Tokenizer
from neogpt.train import reduce
from neogpt.train.device import autocast, describe, versions
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

Evaluate = Callable[[GPT2, Tokenizer, World], tuple[dict[str, float | Outcomes], list[Row]]]
"""(model, tokenizer, world) -> scores by name, and sample rows (question, answer, ...); called on every process,
and what the main one gets counts."""


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
        self.run, self.files, self.world = start.run, start.files, start.world
        self.model, self.tokenizer, self.objective = start.model, start.tokenizer, start.objective
        self.strategy, self.messages = start.strategy, start.messages
        self.named, self.optimizers = start.named, start.optimizers
        self.step, self.tokens, self.base_model_hash = start.step, start.tokens, start.base_model_hash
        self.evaluate, self.stop, self.command = evaluate, stop, command
        self.log = RunLog(self.files, self.world.is_main, trackers)
        self.micros = self.world.share(self.run.batch, self.run.reduction == "exact")
        self.step_guard = StepGuard(self.run.spike_sigma)
        self.step_guard.recall(start.history)
        self.evaluated = evaluated(start.history, self.step)
        self.early_stopping = EarlyStopping(self.run.eval.patience, start.history, self.run.eval.best_metric)
        self.guardrails = Guardrails(
            self.run.eval.guardrails, self.run.eval.guardrail_tolerance, self.files.guardrails
        )
        self.guardrails.recall(start.history)
        self.is_new = not start.history
        self.skipped = sum("skipped" in row for row in start.history)
        self.throughput = Throughput(self.model.config, self.run, processes=self.world.size)
        self.saver = Saver(self.files, self.run.save, self.tokenizer, self.log.event)
        self.data_integrity = DataIntegrityCheck(self.objective.folders if self.world.local_rank == 0 else ())

    def run_to_end(self) -> None:
        """Train from the current step to the last, evaluating and saving on the way."""
        for line in [*self.messages, *([] if self.step else self.objective.warnings())]:
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
        self._warn_if_short()
        began = time.monotonic()
        if self.is_new and self.guardrails.watched:
            self._save()  # what the run stands for if its first evaluation after this loses a guardrail
        if self._evaluation_due() and not self.evaluated:
            self._evaluate()
        while self.step < self.run.steps and not self.early_stopping.is_over:
            self.data_integrity.check(
                wait=self.step + 1 == self.run.steps
            )  # no run ends well on damaged data
            stopping = self._step()
            if (progress := self.throughput.lap(self.step, self.tokens)) and self.world.is_main:
                self.log.event("progress", **progress, disk_free_bytes=free_bytes(self.files))
            self.saver.poll()
            if self._save_due() or stopping:
                self._save()
            if stopping and self.step < self.run.steps:
                self._wait_for_save()
                self.log.event("preempted", step=self.step, signal=self.stop.raised)
                raise PreemptedError(
                    f"stopped by a signal at step {self.step} of {self.run.steps}; everything is saved",
                    hint="the same command with --resume auto",
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

    def _step(self) -> bool:
        """One update (or a skipped one) and its ledger row; True when some process was asked to stop."""
        batches = [self.objective.batch(self.step, micro) for micro in self.micros]
        weights = [self.objective.loss_denominators(batch) for batch in batches]
        totals = reduce.total_denominators(weights, self.world)
        rows = []
        for micro, batch in zip(self.micros, batches, strict=True):
            torch.manual_seed(draw_seed(self.run.seed, self.step, micro))
            with self.strategy.micro_batch(last=micro == self.micros[-1]):
                with autocast(self.run):
                    terms = self.strategy.loss(on_device(batch, self.world.device))
                reduce.scaled(terms, self.objective.coefficients, totals).backward()
            rows.append(reduce.MicroBatchSums(terms, n_tokens(batch), bool(self.stop)))
        gradient = self.strategy.gradient()
        found = reduce.merge(rows, self.objective.coefficients, totals, self.world)
        norm = self.strategy.clip(gradient, self.run.optim.max_grad_norm)
        lr = learning_rate(self.step, self.run.steps, self.run.optim)
        reason = self.step_guard.check(found.metrics["loss"], norm)
        if not reason:
            self._update(gradient, lr)
        self.step, self.tokens = self.step + 1, self.tokens + found.tokens
        row = {"step": self.step, "tokens": self.tokens, **found.metrics, "lr": lr, "grad_norm": norm}
        self.log.row({**row, "skipped": reason} if reason else row)
        if reason:
            self.skipped += 1
            self.log.event("skipped", step=self.step, reason=reason, total=self.skipped)
        self.step_guard.give_up(self.step)
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
        chooses = (
            self.run.eval.patience or self.run.eval.guardrails
        )  # any of them may be what the run stands for
        return due or bool(chooses and self._evaluation_due())

    def _evaluation_due(self) -> bool:
        every = self.run.eval.every
        return self.step in (0, self.run.steps) or bool(every and self.step % every == 0)

    def _save(self) -> None:
        """Save this step, in the background where that is wanted; the other processes wait for the copy."""
        weights, tensors = self.strategy.to_save(optim.state_tensors(self.optimizers, self.named))
        if self.world.is_main:
            own = self.objective.state(self.step)
            tensors |= {f"{checkpoint.OBJECTIVE}{name}": tensor for name, tensor in own.items()}
            config = config_values(self.run)
            state = checkpoint.TrainerState(
                self.step, self.tokens, config, self.objective.data_hash, self.base_model_hash, versions()
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
                    scores, samples = self.evaluate(model, self.tokenizer, self.world)
                    found |= scores
            self.log.samples(self.step, samples)
        row |= {name: value for name, value in outcomes.means(found).items() if name not in row}
        if self.world.is_main:
            row = self.guardrails.check(row, outcomes.samples(found))
        self.log.row(row)
        self.log.event("eval", step=self.step, seconds=round(time.monotonic() - began, 3))
        self._give_verdict(row)
        if self.step or self.run.init_from:
            demand_best_metric(row, self.run, self.world)
        self.early_stopping.note({"step": self.step, **best_metric_scores(row, self.run, self.world)})

    def _give_verdict(self, row: Row) -> None:
        """RegressedError in every process where the main one's row lost a guardrail; what was saved is durable then."""
        lost = self.world.gather(np.array([[float(ledger.REGRESSED in row)]])).any()
        if lost:
            self._wait_for_save()
        if self.world.is_main:
            self.guardrails.give_verdict(row)
        elif lost:
            raise RegressedError(f"step {self.step}: a guardrail was lost; the main process says which")
