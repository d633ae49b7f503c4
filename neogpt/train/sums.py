"""What the micro-batches of a step add up to: always in micro-batch order, so always to the same bits."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neogpt.objectives._base import LossTerms
from neogpt.train.distributed import World

Weights = dict[str, float]


@dataclass
class Row:
    """What one micro-batch reports."""

    terms: LossTerms
    tokens: int = 0
    stop: bool = False


def of_weights(weights: list[Weights], world: World) -> Weights:
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


def merge(rows: list[Row], coefficients: Weights, totals: Weights, world: World) -> Weights:
    """The step's loss and metrics, its tokens, and how many micro-batches saw a request to stop."""
    table = world.gather(np.stack([_numbers(row) for row in rows]))
    return _named(table.sum(0), rows[0].terms, coefficients, totals)


def merge_validation(
    rows: list[Row | None], weights: list[Weights], coefficients: Weights, world: World
) -> Weights:
    """The validation loss and metrics from the chunks of all processes (None where another computed it)."""
    first = next(row for row in rows if row is not None)
    table = np.stack([_numbers(row) if row else np.zeros_like(_numbers(first)) for row in rows])
    whole = world.gather(table).reshape(world.size, *table.shape).sum(0)  # one number and zeros: exact
    totals = {name: math.fsum(row[name] for row in weights) for name in weights[0]}
    merged = _named(whole.sum(0), first.terms, coefficients, totals)
    named = {f"val/{name}": value for name, value in merged.items() if name not in ("loss", "tokens", "stop")}
    return {"val_loss": merged["loss"], **named}


def _numbers(row: Row) -> np.ndarray:
    """float64: loss terms, metric sums, metric weights, tokens, stop."""
    values = [*row.terms.loss_sum.values(), *(value for value, _ in row.terms.metrics.values())]
    tensors = torch.stack([torch.as_tensor(value).detach().double().cpu() for value in values])
    metric_weights = [weight for _, weight in row.terms.metrics.values()]
    return np.array([*tensors.tolist(), *metric_weights, row.tokens, row.stop], np.float64)


def _named(numbers: np.ndarray, terms: LossTerms, coefficients: Weights, totals: Weights) -> Weights:
    values = iter(numbers.tolist())
    losses = {name: next(values) / max(totals[name], 1e-12) for name in terms.loss_sum}
    metric_sums = {name: next(values) for name in terms.metrics}
    metrics = {name: value / max(next(values), 1e-12) for name, value in metric_sums.items()}
    loss = math.fsum(coefficients[name] * value for name, value in losses.items())
    parts = {f"loss/{name}": value for name, value in losses.items()} if len(losses) > 1 else {}
    return {"loss": loss, **parts, **metrics, "tokens": next(values), "stop": next(values)}
