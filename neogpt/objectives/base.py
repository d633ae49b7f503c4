"""The contract between an objective and the training loop.

A loss is a handful of terms. Each term is a *sum* over the micro-batch, and `loss_denominators` says over how much
(tokens, pairs) before any forward pass. The loop divides every term by that term's weight over all
micro-batches and processes and adds the terms up with their coefficients, so accumulation, padding, packing
and the number of processes cannot change the result.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neogpt.batching import micro_size
from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.model import GPT2
from neogpt.objectives.batching import answer_log_probs, row_sums
from neogpt.outcomes import Outcomes
from neogpt.tokenizer import Tokenizer


@dataclass
class LossTerms:
    """What one micro-batch adds to a step."""

    loss_sum: dict[str, Tensor]
    """Per term: the sum over the micro-batch, a scalar with gradient. `Objective.loss_denominators` says over what."""
    metrics: dict[str, tuple[Tensor | float, float]] = field(default_factory=dict)
    """Per metric: its sum and the weight to divide by, no gradient."""


class Objective(abc.ABC):
    """Which samples a step sees and what is learnt from them; a pure function of (config, step)."""

    coefficients: dict[str, float]
    """Per loss term: its factor in the total."""
    data_hash: str
    """Changes when any sample does."""
    n_samples: int
    """Training samples in one epoch."""
    n_validation: int
    """Held-out samples."""
    tokens_per_step: int = 0
    """Tokens of one step, where that is fixed; 0 where it varies."""
    holds_model: bool = False
    """Whether it runs the live model between losses: that must then be whole, and no steps can be timed beforehand."""
    folders: tuple[Path, ...] = ()
    """Prepared data that it reads from disk while it trains."""
    is_packed: bool = False
    """Whether its rows are documents side by side, each read alone; their blocks are not compiled."""
    begins_on_disk: bool = False
    """Whether `begin` leaves on disk what other processes then need not compute: the main one goes first."""
    data_counts: dict[str, int]
    """What was counted while the data was read (examples, truncated, filtered, ...)."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        self.run, self.tokenizer, self.n_positions = run, tokenizer, n_positions
        self.micro_size = micro_size(run.batch.size, run.batch.micro_batches)
        self.data_counts = {}
        self.notes: Sequence[str] = ()

    @abc.abstractmethod
    def batch(self, step: int, micro: int) -> Batch:
        """Micro-batch `micro` of update number `step` (both 0-based)."""

    @abc.abstractmethod
    def loss_denominators(self, batch: Batch) -> dict[str, float]:
        """The weight of each loss term in `batch`, known before any forward pass."""

    @abc.abstractmethod
    def loss(self, model: GPT2, batch: Batch) -> LossTerms:
        """The loss terms of a batch of tensors."""

    @abc.abstractmethod
    def validation_batch(self, ids: np.ndarray) -> Batch:
        """The held-out samples with these numbers, the same for any run of this config."""

    def begin(self, model: GPT2) -> None:  # noqa: B027 (most objectives need nothing)
        """Called once with the weights that the stage starts from (before a resume replaces them)."""

    def state(self, step: int) -> dict[str, Tensor]:
        """What the update after `step` ones needs beside weights and optimizer: the same tensors on all processes.

        A checkpoint keeps them, and they are never written to afterwards. Most objectives need none.
        """
        return {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state` gave (called after `begin`, where a checkpoint has any)."""
        assert not tensors, f"{type(self).__name__} keeps no state, but the checkpoint has {list(tensors)}"

    def warnings(self) -> list[str]:
        """What a user should know before the first step, now that the horizon stands; each with what to type."""
        return []

    def sample_losses(self, model: GPT2, batch: Batch) -> Tensor | None:
        """What the held-out loss is made of, for each sample of a validation batch: its sum and its weight, (rows, 2).

        A guardrail on `val_loss` compares them pair by pair. None where samples have no loss of their own.
        """
        logps_BT = answer_log_probs(model, batch)
        return torch.stack([-row_sums(logps_BT, batch), row_sums(batch.weights, batch)], 1)

    def n_bytes(self, batch: Batch) -> int | None:
        """The bytes of text that a validation batch's loss is about, for bits per byte.

        None where the loss is not -log p of a text. Rewards and preferences have none.
        """
        return None

    def eval_metrics(self) -> dict[str, float | Outcomes]:
        """Scores of the objective's own, for an evaluation's row; asked on the main process alone."""
        return {}
