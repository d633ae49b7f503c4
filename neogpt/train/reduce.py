"""What the micro-batches of a step add up to: always in micro-batch order, so always to the same bits.

The numbers that a loss gives stay on its device until somebody reads them: a GPU that is asked for a number makes
the host wait until all work before it is done, and then waits itself for the host's next work.
"""

import math
from collections.abc import Sequence
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


@dataclass
class Sums:
    """The numbers of some micro-batches, a row each: of the loss terms, then of the metrics, in this order of names."""

    terms: list[str]
    metrics: list[str]
    sums_NK: Tensor
    """float64, a column for each term and each metric, on the device."""
    metric_weights_NM: np.ndarray
    """float64, a column for each metric."""

    @classmethod
    def of(cls, rows: Sequence[LossTerms]) -> "Sums":
        """Of micro-batches that all have the same terms and metrics. Nothing is read from the device."""
        terms, metrics = list(rows[0].loss_sum), list(rows[0].metrics)
        weights = [[row.metrics[name][1] for name in metrics] for row in rows]
        sums = torch.stack([_numbers(row) for row in rows])
        return cls(terms, metrics, sums, np.array(weights, np.float64).reshape(len(rows), len(metrics)))

    def gather(self, world: World) -> "Sums":
        """The rows of all processes, in micro-batch order. Called on all of them; does not wait for the device."""
        weights = world.gather(self.metric_weights_NM) if self.metrics else self.metric_weights_NM
        return Sums(self.terms, self.metrics, world.gather_tensor(self.sums_NK), weights)

    def are_finite(self) -> Tensor:
        """Whether the loss is a finite number: a bool on the device, the same in every process after `gather`."""
        return torch.isfinite(self.sums_NK[:, : len(self.terms)]).all()

    def means(self, coefficients: Weights, totals: Weights) -> Weights:
        """`loss`, where there are several terms `loss/TERM`, and the metrics. This waits for the device.

        Errors: NeoGPTError for a metric whose name is taken.
        """
        sums = self.sums_NK.cpu().numpy().sum(0).tolist()
        losses = {
            name: total / max(totals[name], 1e-12) for name, total in zip(self.terms, sums, strict=False)
        }
        metric_weights = self.metric_weights_NM.sum(0).tolist()
        metrics = {
            name: total / max(weight, 1e-12)
            for name, total, weight in zip(self.metrics, sums[len(self.terms) :], metric_weights, strict=True)
        }
        loss = math.fsum(coefficients[name] * value for name, value in losses.items())
        parts = {f"loss/{name}": value for name, value in losses.items()} if len(losses) > 1 else {}
        if taken := sorted(metrics.keys() & (RESERVED | parts.keys())):
            raise NeoGPTError(
                f"the objective has a metric {taken[0]}, which the ledger's rows have of their own",
                code="run.metric_name_taken",
            )
        return {"loss": loss, **parts, **metrics}


def merge_validation(
    rows: Sequence[LossTerms | None], weights: list[Weights], coefficients: Weights, world: World
) -> Weights:
    """The validation loss and metrics from the chunks of all processes (None where another computed it)."""
    first = Sums.of([next(row for row in rows if row is not None)])
    own = [Sums.of([row]) if row else None for row in rows]
    table = np.concatenate([_columns(each) if each else np.zeros_like(_columns(first)) for each in own])
    whole = world.gather(table).reshape(world.size, *table.shape).sum(0)  # one number and zeros: exact
    n_sums = len(first.terms) + len(first.metrics)
    merged = Sums(first.terms, first.metrics, torch.from_numpy(whole[:, :n_sums]), whole[:, n_sums:])
    totals = {name: math.fsum(row[name] for row in weights) for name in weights[0]}
    means = merged.means(coefficients, totals)
    return {"val_loss": means.pop("loss"), **{f"val/{name}": value for name, value in means.items()}}


def _columns(sums: Sums) -> np.ndarray:
    return np.concatenate([sums.sums_NK.cpu().numpy(), sums.metric_weights_NM], axis=1)


def _numbers(row: LossTerms) -> Tensor:
    """float64 (k,) on the device of the loss (MPS has no float64: on the host): its terms, then metric sums."""
    values = [*row.loss_sum.values(), *(value for value, _ in row.metrics.values())]
    device = next(iter(row.loss_sum.values())).device
    device = torch.device("cpu") if device.type == "mps" else device
    return torch.stack([_wide(value, device) for value in values])


def _wide(value: Tensor | float, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to(device).double()
    return torch.full((), value, dtype=torch.as_tensor(value).dtype, device=device).double()
