"""The logit lens: what the model would say if it stopped after each layer.

Every row of the residual stream goes through the final LayerNorm, with that row's own mean and deviation, and the
tied head (nostalgebraist 2020, "interpreting GPT: the logit lens"). The last row is the model's own logits.

L layers, B rows, T tokens, D n_embd, V vocabulary, N tokens kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies.interpretability.activations import activations, unembed
from neogpt.studies.interpretability.checks import check_ids, check_index


def stream(model: GPT2, tokens_BT: Tensor) -> Tensor:
    """The residual stream before the first layer and after each: (L + 1, B, T, D).

    Errors: those of `activations`.
    """
    kept = activations(model, tokens_BT, ["h.0.resid_pre", "h.*.resid_post"])
    return torch.stack(list(kept.values()))


@torch.no_grad()
def logit_lens(model: GPT2, tokens_BT: Tensor) -> Tensor:
    """Logits after the embeddings and after each layer: (L + 1, B, T, V); the last are the model's logits.

    Of a large vocabulary and a long text that is a large table; `lens_readings` keeps only what is read off it.
    Errors: those of `activations`.
    """
    return torch.stack([unembed(model, x_BTD) for x_BTD in stream(model, tokens_BT)])


@dataclass(frozen=True)
class LensReadings:
    """What the lens says at each layer and position."""

    top_ids: Tensor
    """int64 (L + 1, B, T, N): the likeliest tokens, best first."""
    top_probs: Tensor
    """(L + 1, B, T, N): their probabilities."""
    target_probs: Tensor
    """(L + 1, B, T): the probability of the target token."""
    target_ranks: Tensor
    """int64 (L + 1, B, T): how many tokens are likelier than the target; 0: none."""


@torch.no_grad()
def lens_readings(
    model: GPT2,
    tokens_BT: Tensor,
    targets_BT: Tensor,
    n_top: int = 5,
    positions: Sequence[int] | None = None,
) -> LensReadings:
    """The likeliest tokens, and how likely the targets are, at each layer and position.

    `targets_BT`, int64 (B, T) or what broadcasts to it: the token to follow at each position. `positions`: those to
    read, by default all. Of the logits, one layer and one row at a time are held.
    Errors: ConfigError (study.bad_count, study.no_such_position), and those of `activations`.
    """
    if not 1 <= n_top <= model.config.vocab_size:
        raise ConfigError(
            f"n_top is {n_top}", f"1 to {model.config.vocab_size:,} tokens", code="study.bad_count"
        )
    check_ids(model, targets_BT)
    at = list(range(tokens_BT.shape[1]) if positions is None else positions)
    for position in at:
        check_index("position", position, tokens_BT.shape[1])
    targets_BT = targets_BT.expand_as(tokens_BT)[:, at]
    layers = [list(_read(model, x_BTD[:, at], targets_BT, n_top)) for x_BTD in stream(model, tokens_BT)]
    ids, probs, wanted, ranks = (
        torch.stack([torch.stack([row[part] for row in rows]) for rows in layers]) for part in range(4)
    )
    return LensReadings(ids, probs, wanted, ranks)


def _read(
    model: GPT2, x_BTD: Tensor, targets_BT: Tensor, n_top: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    for x_TD, targets_T in zip(x_BTD, targets_BT, strict=True):
        probs_TV = unembed(model, x_TD).softmax(-1)
        best = probs_TV.topk(n_top)
        wanted_T1 = probs_TV.gather(-1, targets_T[:, None])
        yield best.indices, best.values, wanted_T1[:, 0], (probs_TV > wanted_T1).sum(-1)


def decision_depth(ranks_L: Tensor) -> int:
    """The first layer from which the target is the likeliest to the end: 0 the embeddings, L + 1 never.

    `ranks_L`, int64 (L + 1,): the target's ranks at one position, as `lens_readings` gives them.
    """
    later = (ranks_L > 0).nonzero()
    return int(later.max()) + 1 if len(later) else 0
