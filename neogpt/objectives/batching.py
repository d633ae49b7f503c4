"""Rows of token ids as batches: padded or packed, moved to a device, and what a loss reads off them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neogpt.data.batch import Batch
from neogpt.model import GPT2, cross_entropy_sum, log_probs
from neogpt.model.documents import Documents
from neogpt.model.tensors import to_device

_MULTIPLE = 32  # tokens to which padded rows are rounded up

TokenRow = tuple[list[int], ...]
"""Token ids in parts, in turn given and learned: a prompt, its response, the next prompt, ..."""


def pad(rows: Sequence[TokenRow], fill: int, n_positions: int) -> Batch:
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


def pack(rows: Sequence[TokenRow], fill: int) -> Batch:
    """The same rows side by side in one row (1, T) without padding; `extra["lengths"]` says where each ends.

    Each is read alone, from position 0 (see `neogpt/model/documents.py`), so the loss is that of `pad`.
    """
    laid = [_laid_out(row) for row in rows]
    tokens = np.concatenate([ids[:-1] for ids, _ in laid])[None]
    targets = np.concatenate([ids[1:] for ids, _ in laid])[None]
    weights = np.concatenate([learned[1:] for _, learned in laid])[None]
    return Batch(tokens, targets, weights, {"lengths": np.array([len(ids) - 1 for ids, _ in laid])})


def _laid_out(row: TokenRow) -> tuple[np.ndarray, np.ndarray]:
    """The row's ids (int64) and, for each, 1.0 where it is learned (float32)."""
    ids = np.array([token for part in row for token in part], np.int64)
    learned = np.array([i % 2 for i, part in enumerate(row) for _ in part], np.float32)
    return ids, learned


def one_by_one(batch: Batch, eot_id: int) -> Batch:
    """The rows of (B, T) as one row (1, B * T) of documents that are read alone; each begins with end-of-text."""
    begins_BT = batch.tokens == eot_id
    begins_BT[:, 0] = True
    lengths_N = np.diff(np.append(np.flatnonzero(begins_BT), begins_BT.size))
    tokens, targets, weights = (part.reshape(1, -1) for part in (batch.tokens, batch.targets, batch.weights))
    return Batch(tokens, targets, weights, {"lengths": lengths_N})


def trimmed(weights_BT: Tensor) -> int:
    """The tokens to which right-padded rows may be cut: past the last that counts, a multiple as in `pad`."""
    last = int((weights_BT > 0).any(0).nonzero().max())
    return min(weights_BT.shape[1], math.ceil((last + 1) / _MULTIPLE) * _MULTIPLE)


def n_rows(batch: Batch) -> int:
    """Examples in a batch, padded or packed."""
    return len(batch.extra["lengths"]) if "lengths" in batch.extra else len(batch.tokens)


def row_sums(values_BT: Tensor, batch: Batch) -> Tensor:
    """The sum over each example of a batch of tensors, padded or packed: (rows,)."""
    if "lengths" not in batch.extra:
        return values_BT.sum(1)
    return Documents(batch.extra["lengths"], values_BT.device).sums(values_BT)


def token_loss(model: GPT2, batch: Batch, z_loss: float = 0.0) -> Tensor:
    """The weighted sum of -log p(target) over a batch of tensors: a scalar Tensor (`z_loss`: see there)."""
    x_BTD = model.hidden(batch.tokens, lengths=batch.extra.get("lengths"))
    wte_VD, counted_N = model.transformer.wte.weight, batch.extra.get("counted")
    return cross_entropy_sum(x_BTD, wte_VD, batch.targets, batch.weights, z_loss=z_loss, counted_N=counted_N)


def n_tokens(batch: Batch) -> int:
    """Input tokens of a batch that are not padding (a row ends with the last target that counts)."""
    counts_BT = batch.weights > 0
    width = counts_BT.shape[1]
    lengths_B = (width - counts_BT[:, ::-1].argmax(1)) * counts_BT.any(1)
    parts = (n_tokens(part) for part in batch.extra.values() if isinstance(part, Batch))
    return int(lengths_B.sum()) + sum(parts)


def target_bytes(batch: Batch, lengths_V: np.ndarray) -> int:
    """Bytes of the targets that count (weight above 0), from those of each id (`Tokenizer.byte_lengths`)."""
    return int(lengths_V[batch.targets[batch.weights > 0]].sum())


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with tensors on `device` in place of arrays.

    What shapes follow from is known to the host, so that nobody waits for the device: `extra["lengths"]` stays an
    array, and `extra["counted"]` (int64) says which of the B * T weights are not 0.
    """

    def move(value: Any) -> Any:
        if isinstance(value, Batch):
            return on_device(value, device)
        return to_device(as_held(value, device.type), device)

    extra = {name: value if name == "lengths" else move(value) for name, value in batch.extra.items()}
    extra["counted"] = move(np.flatnonzero(batch.weights))
    return Batch(move(batch.tokens), move(batch.targets), move(batch.weights), extra)


def as_held(array: np.ndarray, kind: str) -> np.ndarray:
    """The array in a precision that devices of this kind have: MPS has no float64."""
    return array.astype(np.float32) if kind == "mps" and array.dtype == np.float64 else array


def answer_log_probs(model: GPT2, batch: Batch) -> Tensor:
    """log p of each learned token of a batch of tensors, padded or packed, 0 elsewhere: (B, T)."""
    more = {"lengths": batch.extra.get("lengths"), "counted_N": batch.extra.get("counted")}
    return log_probs(model, batch.tokens, batch.targets, batch.weights, **more)
