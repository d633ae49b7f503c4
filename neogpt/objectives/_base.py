"""The contract between an objective and the training loop.

A loss is a handful of terms. Each term is a *sum* over the micro-batch, and `weights` says over how much
(tokens, pairs) before any forward pass. The loop divides every term by that term's weight over all
micro-batches and processes and adds the terms up with their coefficients, so accumulation, padding, packing
and the number of processes cannot change the result.

Torch is imported inside functions: the command line reads options before torch is needed.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.plan.arithmetic import micro_size as micro_size
from neogpt.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from neogpt.model import GPT2


@dataclass
class LossTerms:
    """What one micro-batch adds to a step."""

    loss_sum: dict[str, Tensor]
    """Per term: the sum over the micro-batch, a scalar with gradient. `Objective.weights` says over what."""
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
    """Whether it runs the live model between losses: that must then be whole, and steps cannot be rehearsed."""
    folders: tuple[Path, ...] = ()
    """Prepared data that it reads from disk while it trains."""
    begins_on_disk: bool = False
    """Whether `begin` leaves on disk what other processes then need not compute: the main one goes first."""
    notes: dict[str, int]
    """What was counted while the data was read (examples, truncated, refused, ...)."""

    def __init__(self, run: AnyRun, tokenizer: Tokenizer, n_positions: int) -> None:
        self.run, self.tokenizer, self.n_positions = run, tokenizer, n_positions
        self.micro_size = micro_size(run.batch.size, run.batch.micro_batches)
        self.notes = {}

    @abc.abstractmethod
    def batch(self, step: int, micro: int) -> Batch:
        """Micro-batch `micro` of update number `step` (both 0-based)."""

    @abc.abstractmethod
    def weights(self, batch: Batch) -> dict[str, float]:
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

    def doubts(self) -> list[str]:
        """What a user should know before the first step, now that the horizon stands; each with what to type."""
        return []

    def examine(self) -> dict[str, float]:
        """Scores of the objective's own, for an evaluation's row; asked on the main process alone."""
        return {}


_MULTIPLE = 32  # tokens to which padded rows are rounded up

Row = tuple[list[int], ...]
"""Token ids in parts, in turn given and learned: a prompt, its response, the next prompt, ..."""


def pad(rows: Sequence[Row], fill: int, n_positions: int) -> Batch:
    """Rows as one right-padded Batch (B, T) whose weights are 1 on what is learned.

    The input of a row is all its ids without the last, the targets are one ahead. Right padding needs no mask: a
    causal model never looks at it, and its targets weigh 0. T is a multiple of 32 where `n_positions` has room:
    ever other shapes cost a CPU's library the code it makes for each, and a GPU's likes them even.
    """
    longest = max(sum(map(len, row)) for row in rows) - 1
    even = math.ceil(longest / _MULTIPLE) * _MULTIPLE
    shape = (len(rows), max(longest, min(even, n_positions)))
    tokens, targets = np.full(shape, fill, np.int64), np.full(shape, fill, np.int64)
    weights = np.zeros(shape, np.float32)
    for i, row in enumerate(rows):
        ids, learned = _laid_out(row)
        end = len(ids) - 1
        tokens[i, :end], targets[i, :end], weights[i, :end] = ids[:-1], ids[1:], learned[1:]
    return Batch(tokens, targets, weights)


def pack(rows: Sequence[Row], fill: int) -> Batch:
    """The same rows side by side in one row (1, T) without padding; `extra["lengths"]` says where each ends.

    Each is read alone, from position 0 (see `neogpt/model/documents.py`), so the loss is that of `pad`.
    """
    laid = [_laid_out(row) for row in rows]
    tokens = np.concatenate([ids[:-1] for ids, _ in laid])[None]
    targets = np.concatenate([ids[1:] for ids, _ in laid])[None]
    weights = np.concatenate([learned[1:] for _, learned in laid])[None]
    return Batch(tokens, targets, weights, {"lengths": np.array([len(ids) - 1 for ids, _ in laid])})


def _laid_out(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """The row's ids (int64) and, for each, 1.0 where it is learned (float32)."""
    ids = np.array([token for part in row for token in part], np.int64)
    learned = np.array([i % 2 for i, part in enumerate(row) for _ in part], np.float32)
    return ids, learned


def n_rows(batch: Batch) -> int:
    """Examples in a batch, padded or packed."""
    return len(batch.extra["lengths"]) if "lengths" in batch.extra else len(batch.tokens)


def row_sums(values_BT: Tensor, batch: Batch) -> Tensor:
    """The sum over each example of a batch of tensors, padded or packed: (rows,)."""
    if "lengths" not in batch.extra:
        return values_BT.sum(1)
    from neogpt.model.documents import Documents

    return Documents(batch.extra["lengths"]).sums(values_BT)


def token_loss(model: GPT2, batch: Batch, z_loss: float = 0.0) -> Tensor:
    """The weighted sum of -log p(target) over a batch of tensors: a scalar Tensor (`z_loss`: see there)."""
    from neogpt.model import cross_entropy_sum

    x_BTD = model.hidden(batch.tokens, lengths=batch.extra.get("lengths"))
    wte_VD = model.transformer.wte.weight
    return cross_entropy_sum(x_BTD, wte_VD, batch.targets, batch.weights, z_loss=z_loss)


def n_tokens(batch: Batch) -> int:
    """Input tokens of a batch that are not padding (a row ends with the last target that counts)."""
    counts_BT = batch.weights > 0
    width = counts_BT.shape[1]
    lengths_B = (width - counts_BT[:, ::-1].argmax(1)) * counts_BT.any(1)
    parts = (n_tokens(part) for part in batch.extra.values() if isinstance(part, Batch))
    return int(lengths_B.sum()) + sum(parts)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with tensors on `device` in place of arrays."""
    import torch

    def move(value: Any) -> Any:
        if isinstance(value, Batch):
            return on_device(value, device)
        return torch.from_numpy(as_held(value, device.type)).to(device)

    extra = {name: move(value) for name, value in batch.extra.items()}
    return Batch(move(batch.tokens), move(batch.targets), move(batch.weights), extra)


def as_held(array: np.ndarray, kind: str) -> np.ndarray:
    """The array in a precision that devices of this kind have: MPS has no float64."""
    return array.astype(np.float32) if kind == "mps" and array.dtype == np.float64 else array
