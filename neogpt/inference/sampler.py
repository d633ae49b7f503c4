"""From logits to tokens: repetition penalty, temperature, top-k, top-p and the draw, for many rows at once.

Shapes: R rows, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from neogpt.inference.sampling_params import SamplingParams

_NUCLEUS_GUESS = 256  # the tokens of top-p are nearly always among so many; when not, all are sorted
_COLDEST = 1e-9  # a temperature below it would leave the finite numbers


@dataclass(frozen=True)
class RowSettings:
    """The settings of R rows as columns on one device; each row has its own."""

    temperature_R1: Tensor
    top_k_R1: Tensor
    top_p_R1: Tensor
    penalty_R1: Tensor
    greedy_R: Tensor
    max_top_k: int
    any_top_p: bool
    any_penalty: bool
    any_greedy: bool
    all_greedy: bool
    any_scaled: bool

    @classmethod
    def of(cls, rows: Sequence[SamplingParams], n_ids: int, device: torch.device | str = "cpu") -> Self:
        """Gather the settings of each row, for a choice among `n_ids` ids; temperature 0 becomes `greedy`."""
        greedy = [row.temperature == 0 for row in rows]
        top_k = [row.top_k if row.top_k < n_ids else 0 for row in rows]
        temperature = [max(row.temperature, _COLDEST) if row.temperature else 1.0 for row in rows]
        return cls(
            temperature_R1=torch.tensor(temperature, device=device)[:, None],
            top_k_R1=torch.tensor(top_k, device=device)[:, None],
            top_p_R1=torch.tensor([row.top_p for row in rows], device=device)[:, None],
            penalty_R1=torch.tensor([row.repetition_penalty for row in rows], device=device)[:, None],
            greedy_R=torch.tensor(greedy, device=device),
            max_top_k=max(top_k),
            any_top_p=any(row.top_p < 1 for row in rows),
            any_penalty=any(row.repetition_penalty != 1 for row in rows),
            any_greedy=any(greedy),
            all_greedy=all(greedy),
            any_scaled=any(value != 1 for value in temperature),
        )

    def first(self, n: int) -> Self:
        """The settings of the first n rows."""
        if n == len(self.greedy_R):
            return self
        columns = ("temperature_R1", "top_k_R1", "top_p_R1", "penalty_R1", "greedy_R")
        return replace(self, **{name: getattr(self, name)[:n] for name in columns})


def sample_tokens(
    logits_RV: Tensor,
    rows: RowSettings,
    uniform_R: Tensor,
    seen_RV: Tensor | None = None,
    n_ids: int | None = None,
) -> tuple[Tensor, Tensor]:
    """One token for each row, int64 (R,), and its log-probability, float32 (R,).

    `logits_RV` is float32; `uniform_R` holds one random number in [0, 1) for each row, float64 on the CPU; `seen_RV`
    is true for the tokens that the repetition penalty meets; ids from `n_ids` up (padding of the vocabulary) are
    never chosen.
    The log-probability is the model's own at the row's temperature (at 1 where that is 0): before the repetition
    penalty, top-k and top-p, over the whole vocabulary. NaN or infinite logits make it NaN.
    """
    own_RV = _scores(logits_RV, rows)
    weights_RV = own_RV.exp()
    log_z_R = weights_RV.sum(-1).log()
    scores_RV = own_RV
    if rows.any_penalty and seen_RV is not None:
        scores_RV = _scores(penalize(logits_RV, seen_RV, rows.penalty_R1), rows)
        weights_RV = scores_RV.exp()
    scores_RV, weights_RV = scores_RV[:, :n_ids], weights_RV[:, :n_ids]
    if rows.all_greedy:
        tokens_R = scores_RV.argmax(-1)
    else:
        tokens_R = draw(truncate(weights_RV, rows), uniform_R)
        if rows.any_greedy:
            tokens_R = torch.where(rows.greedy_R, scores_RV.argmax(-1), tokens_R)
    return tokens_R, own_RV.gather(1, tokens_R[:, None])[:, 0] - log_z_R


def _scores(logits_RV: Tensor, rows: RowSettings) -> Tensor:
    """Logits at the row's temperature, moved so that the largest is 0 and none can overflow."""
    scores_RV = logits_RV - logits_RV.amax(-1, keepdim=True)
    return scores_RV / rows.temperature_R1 if rows.any_scaled else scores_RV


def penalize(logits_RV: Tensor, seen_RV: Tensor, penalty_R1: Tensor) -> Tensor:
    """Lower the logits of seen tokens: divided by the penalty when positive, multiplied when negative.

    Source: Keskar et al. 2019, "CTRL" (section 4.1), as Hugging Face applies it.
    """
    lowered_RV = torch.where(logits_RV < 0, logits_RV * penalty_R1, logits_RV / penalty_R1)
    return torch.where(seen_RV, lowered_RV, logits_RV)


def truncate(weights_RV: Tensor, rows: RowSettings) -> Tensor:
    """Weights of 0 for what top-k and then top-p leave out; tokens as likely as the last one kept stay too.

    Weights are probabilities up to a factor. Sources: Fan et al. 2018 (top-k); Holtzman et al. 2020, "The Curious
    Case of Neural Text Degeneration" (top-p).
    """
    if rows.max_top_k:
        largest_RN = weights_RV.topk(rows.max_top_k).values
        edge_R1 = largest_RN.gather(1, (rows.top_k_R1 - 1).clamp(min=0))
        weights_RV = weights_RV.masked_fill((weights_RV < edge_R1) & (rows.top_k_R1 > 0), 0)
    if rows.any_top_p:
        edge_R1 = _nucleus_edge(weights_RV, rows.top_p_R1)
        weights_RV = weights_RV.masked_fill((weights_RV < edge_R1) & (rows.top_p_R1 < 1), 0)
    return weights_RV


def _nucleus_edge(weights_RV: Tensor, top_p_R1: Tensor) -> Tensor:
    """The smallest weight within top-p: (R, 1). A token is in when those before it do not yet reach p."""
    wanted_R1 = top_p_R1 * weights_RV.sum(-1, keepdim=True)
    V = weights_RV.shape[-1]
    sorted_RN = weights_RV.topk(min(V, _NUCLEUS_GUESS)).values
    sums_RN = sorted_RN.cumsum(-1)
    if sorted_RN.shape[-1] < V and bool(((sums_RN[:, -1:] < wanted_R1) & (top_p_R1 < 1)).any()):
        sorted_RN = weights_RV.sort(-1, descending=True).values
        sums_RN = sorted_RN.cumsum(-1)
    n_inside_R1 = ((sums_RN - sorted_RN) < wanted_R1).sum(-1, keepdim=True).clamp(min=1)
    return sorted_RN.gather(1, n_inside_R1 - 1)


def draw(weights_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """The token at which the running sum of the weights passes `uniform` of their total: int64 (R,)."""
    dtype = torch.float64
    if weights_RV.device.type == "mps":  # it has no float64, in which a random number could become 1
        dtype, uniform_R = torch.float32, uniform_R.clamp(max=1 - 2**-24)
    sums_RV = weights_RV.cumsum(-1, dtype=dtype)
    passed_R1 = uniform_R.to(weights_RV.device, dtype)[:, None] * sums_RV[:, -1:]
    tokens_R = torch.searchsorted(sums_RV, passed_R1, right=True)[:, 0]
    return tokens_R.clamp(max=weights_RV.shape[-1] - 1)  # beyond the end only where weights are NaN
