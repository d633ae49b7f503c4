"""The held-out loss, and the scores that decide which evaluation is the best: the same in every process."""

import math

import numpy as np
import torch

from neogpt import ledger
from neogpt.config import BEST_METRIC, AnyRun
from neogpt.ledger import Row
from neogpt.model import GPT2
from neogpt.objectives.base import LossTerms, Objective
from neogpt.objectives.batching import on_device
from neogpt.outcomes import Outcomes
from neogpt.train import reduce
from neogpt.train.device import autocast
from neogpt.train.parallel.distributed import World


def validate(model: GPT2, objective: Objective, run: AnyRun, world: World) -> Row:
    """Loss and metrics over the first held-out samples: the same whatever the number of processes."""
    n = min(objective.n_validation, run.eval.val_samples)
    if not n:
        return {}
    chunks = np.split(np.arange(n), range(objective.micro_size, n, objective.micro_size))
    alone = len(chunks) < world.size  # too few to share: everybody computes all
    rows: list[LossTerms | None] = []
    weights = []
    n_bytes: list[int | None] = []
    with torch.no_grad(), autocast(run):
        for i, ids in enumerate(chunks):
            batch = objective.validation_batch(ids)
            weights.append(objective.loss_denominators(batch))
            n_bytes.append(objective.n_bytes(batch))
            mine = alone or i % world.size == world.rank
            rows.append(objective.loss(model, on_device(batch, world.device)) if mine else None)
    row = reduce.merge_validation(rows, weights, objective.coefficients, World() if alone else world)
    return row | _bits_per_byte(row["val_loss"], weights, n_bytes)


def _bits_per_byte(loss: float, weights: list[reduce.Weights], n_bytes: list[int | None]) -> Row:
    """`val_bpb`: the same loss per byte of the text in place of per token, so that vocabularies compare.

    Every target counts, end-of-text as well, which stands for no byte: the bits are those that the whole text and its
    borders would take (Shannon 1948).
    """
    known = [each for each in n_bytes if each is not None]
    if not sum(known):
        return {}
    tokens = sum(sum(row.values()) for row in weights)
    return {"val_bpb": loss * tokens / math.log(2) / sum(known)}


def sample_losses(model: GPT2, objective: Objective, run: AnyRun, world: World) -> Outcomes | None:
    """The held-out loss sample by sample, for the main process, which alone computes it."""
    n = min(objective.n_validation, run.eval.val_samples)
    if not (n and world.is_main):
        return None
    found = []
    with torch.no_grad(), autocast(run):
        for ids in np.split(np.arange(n), range(objective.micro_size, n, objective.micro_size)):
            batch = on_device(objective.validation_batch(ids), world.device)
            found.append(objective.sample_losses(model, batch))
    tables = [losses_R2.double().cpu().numpy() for losses_R2 in found if losses_R2 is not None]
    return Outcomes(*np.concatenate(tables).T) if tables else None


def demand_best_metric(row: Row, run: AnyRun, world: World) -> None:
    """ConfigError where the main process's row lacks a score that the settings watch."""
    if world.is_main and run.eval.best_metric != BEST_METRIC:
        ledger.demand(row, ledger.signs(run.eval.best_metric), "score to watch (eval.best_metric),")


def best_metric_scores(row: Row, run: AnyRun, world: World) -> Row:
    """What the main process's row has of the watched scores, in every process: only that one has them all."""
    names = ledger.signs(run.eval.best_metric)
    values = world.gather(np.array([[float(name in row), row.get(name, 0.0)] for name in names]))
    return {name: float(value) for name, (there, value) in zip(names, values, strict=False) if there}
