"""What the micro-batches of a step add up to: always in micro-batch order, so always to the same bits."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neogpt.errors import NeoGPTError
from neogpt.objectives.base import LossTerms
from neogpt.train.parallel.distributed import World

Weights = dict[str, float]
RESERVED = frozenset({"step", "tokens", "loss", "lr", "grad_norm", "skipped"})
"""What the loop itself writes into a step's row: an objective's metric of such a name would be lost, or lose it."""


@dataclass
class MicroBatchSums:
    """What one micro-batch reports."""

    terms: LossTerms
    tokens: int = 0
    stopping: bool = False
    """Whether this process was asked to stop."""


@dataclass
class Step:
    """What all micro-batches of a step report together."""

    metrics: Weights
    """`loss`, where there are several terms `loss/TERM`, and the objective's metrics."""
    tokens: int
    stopping: bool
    """Whether some process was asked to stop."""


def total_denominators(weights: list[Weights], world: World) -> Weights:
    """Each term's weight over all micro-batches of all processes."""
    names = list(weights[0])
    table = world.gather(np.array([[row[name] for name in names] for row in weights], np.float64))
    return dict(zip(names, table.sum(0).tolist(), strict=True))


def scaled(terms: LossTerms, coefficients: Weights, totals: Weights) -> Tensor:
    """The micro-batch's share of the step's loss: sum over terms of coefficient * sum / global weight."""
    shares = [coefficients[k] * value / max(totals[k], 1e-12) for k, value in terms.loss_sum.items()]
    total = shares[0]
    for share in shares[1:]:
        total = total + share
    return total


def merge(rows: list[MicroBatchSums], coefficients: Weights, totals: Weights, world: World) -> Step:
    """The step over all micro-batches of all processes; NeoGPTError for a metric whose name is taken."""
    table = world.gather(np.stack([_numbers(row) for row in rows]))
    *numbers, tokens, stopping = table.sum(0).tolist()
    return Step(_named(numbers, rows[0].terms, coefficients, totals), round(tokens), bool(stopping))


def merge_validation(
    rows: list[MicroBatchSums | None], weights: list[Weights], coefficients: Weights, world: World
) -> Weights:
    """The validation loss and metrics from the chunks of all processes (None where another computed it)."""
    first = next(row for row in rows if row is not None)
    table = np.stack([_numbers(row) if row else np.zeros_like(_numbers(first)) for row in rows])
    whole = world.gather(table).reshape(world.size, *table.shape).sum(0)  # one number and zeros: exact
    totals = {name: math.fsum(row[name] for row in weights) for name in weights[0]}
    merged = _named(whole.sum(0).tolist()[:-2], first.terms, coefficients, totals)
    return {"val_loss": merged.pop("loss"), **{f"val/{name}": value for name, value in merged.items()}}


def _numbers(row: MicroBatchSums) -> np.ndarray:
    """float64: loss terms, metric sums, metric weights, tokens, stopping."""
    values = [*row.terms.loss_sum.values(), *(value for value, _ in row.terms.metrics.values())]
    tensors = torch.stack([torch.as_tensor(value).detach().cpu().double() for value in values])
    metric_weights = [weight for _, weight in row.terms.metrics.values()]
    return np.array([*tensors.tolist(), *metric_weights, row.tokens, row.stopping], np.float64)


def _named(numbers: list[float], terms: LossTerms, coefficients: Weights, totals: Weights) -> Weights:
    values = iter(numbers)
    losses = {name: next(values) / max(totals[name], 1e-12) for name in terms.loss_sum}
    metric_sums = {name: next(values) for name in terms.metrics}
    metrics = {name: value / max(next(values), 1e-12) for name, value in metric_sums.items()}
    loss = math.fsum(coefficients[name] * value for name, value in losses.items())
    parts = {f"loss/{name}": value for name, value in losses.items()} if len(losses) > 1 else {}
    if taken := sorted(metrics.keys() & (RESERVED | parts.keys())):
        raise NeoGPTError(f"the objective has a metric {taken[0]}, which the ledger's rows have of their own")
    return {"loss": loss, **parts, **metrics}
