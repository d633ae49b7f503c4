"""What each attention head looks at: the token before, an earlier copy, or what followed an earlier copy.

B rows, T tokens, L layers, H heads, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies.interpretability.activations import activations, attention
from neogpt.studies.interpretability.checks import check_input

SHORTEST = 5
"""The shortest repeat: with fewer tokens to choose from, a head that spreads its attention scores by chance."""


@dataclass(frozen=True)
class HeadScores:
    """Mean attention probabilities of each head, all (L, H) between 0 and 1."""

    previous: Tensor
    """To the token before."""
    duplicate: Tensor
    """To earlier copies of the same token, where there are any."""
    induction: Tensor
    """To what followed earlier copies of the same token: the head looks up what came next last time."""


def head_scores(
    model: GPT2, seed: int = 0, n_rows: int = 32, n_tokens: int | None = None, period: int | None = None
) -> HeadScores:
    """The scores of every head on random tokens that repeat (Olsson et al. 2022, "In-context Learning and Induction
    Heads").

    Each row has its own tokens and repeats them after a period of its own, drawn evenly from 5 to half of the text.
    At a fixed `period` a head can score by position alone, always looking so many tokens back, without reading what
    stands there: heads of a one-layer model, which cannot do induction, then reach high scores.
    `n_tokens`: of each row, by default the model's context up to 256. Errors: those of `repeats`.
    """
    n_tokens = n_tokens or min(model.config.n_positions, 256)
    tokens_BT = repeats(model, n_rows, n_tokens, seed, period)
    return scores_on(model, tokens_BT)


def scores_on(model: GPT2, tokens_BT: Tensor, batch_rows: int = 8) -> HeadScores:
    """The scores on given texts, int64 (B, T): a mean over the positions that have something to look at.

    A score without any such position is NaN. Errors: those of `activations`.
    """
    check_input(model, tokens_BT)
    same_BTT = (tokens_BT[:, :, None] == tokens_BT[:, None, :]).tril(-1)
    T = tokens_BT.shape[1]
    before_TT = torch.eye(T, dtype=torch.bool, device=tokens_BT.device).roll(-1, 1).tril(-1)
    # What followed a copy at s is at s + 1: the same picture, one column to the right. Where the copy is the token
    # before, what followed it is the query itself.
    after_BTT = F.pad(same_BTT, (1, 0))[:, :, :T]
    wanted = [before_TT.expand_as(same_BTT), same_BTT, after_BTT]
    config = model.config
    sums_3LH = model.transformer.wte.weight.new_zeros(3, config.n_layer, config.n_head, requires_grad=False)
    for start in range(0, len(tokens_BT), batch_rows):
        pattern_LBHTT = attention(model, tokens_BT[start : start + batch_rows])
        here = [mask_BTT[start : start + batch_rows] for mask_BTT in wanted]
        sums_3LH = sums_3LH + torch.stack(
            [torch.einsum("lbhqk,bqk->lh", pattern_LBHTT, mask.to(pattern_LBHTT.dtype)) for mask in here]
        )
    counts = [int(mask_BTT.any(-1).sum()) for mask_BTT in wanted]
    means = [total / (count or float("nan")) for total, count in zip(sums_3LH, counts, strict=True)]
    return HeadScores(*means)


def repeats(
    model: GPT2,
    n_rows: int,
    n_tokens: int,
    seed: int = 0,
    period: int | None = None,
    eot_id: int | None = None,
) -> Tensor:
    """Random tokens that repeat: int64 (n_rows, n_tokens), on the model's device.

    Within a period no token occurs twice, so what an induction head should look at is one place a round. `period`:
    the same for all rows; by default each row draws its own. `eot_id`: a token that is never drawn.
    Errors: ConfigError (study.bad_period, study.prompt_too_long, study.bad_count).
    """
    longest = _longest(model, n_rows, n_tokens, period)
    generator = torch.Generator().manual_seed(seed)
    allowed_V = torch.tensor([i for i in range(model.config.vocab_size) if i != eot_id])
    rows = []
    for _ in range(n_rows):
        drawn = period or int(torch.randint(SHORTEST, longest + 1, (), generator=generator))
        order = torch.randperm(len(allowed_V), generator=generator)[:drawn]
        rows.append(allowed_V[order].repeat(-(-n_tokens // drawn))[:n_tokens])
    return torch.stack(rows).to(model.device)


def _longest(model: GPT2, n_rows: int, n_tokens: int, period: int | None) -> int:
    """The longest period that can be drawn: twice in the text, and no token twice in it."""
    config = model.config
    longest = min(n_tokens // 2, config.vocab_size - 1)
    if n_rows < 1:
        raise ConfigError(f"{n_rows} rows", "at least 1", code="study.bad_count")
    if n_tokens > config.n_positions:
        raise ConfigError(
            f"rows of {n_tokens:,} tokens",
            f"at most {config.n_positions:,}, the context of this model",
            code="study.prompt_too_long",
        )
    if longest < SHORTEST or not SHORTEST <= (period or SHORTEST) <= longest:
        raise ConfigError(
            f"repeats every {period or SHORTEST} of {n_tokens} tokens",
            f"a period from {SHORTEST} to half of the text, and of the vocabulary at most all but one",
            code="study.bad_period",
        )
    return longest


@torch.no_grad()
def next_token_losses(model: GPT2, tokens_BT: Tensor, batch_rows: int = 8) -> Tensor:
    """The loss of each next token of `tokens_BT`, int64 (B, T): (B, T - 1), in nats, in the weights' dtype.

    On `repeats` the loss from the second round on says how well the model copies what it has read once.
    """
    found = []
    for rows_BT in tokens_BT.split(batch_rows):
        logits_BTV = activations(model, rows_BT, ["logits"])["logits"][:, :-1]
        found.append(F.cross_entropy(logits_BTV.mT, rows_BT[:, 1:], reduction="none"))
    return torch.cat(found)


def in_context_score(losses_BT: Tensor, early: int, late: int) -> float:
    """The in-context learning score: mean loss of the token at `late` less that at `early`, in nats; below 0, context
    helps.

    Olsson et al. 2022 take positions 50 and 500. `losses_BT`: losses of next tokens (B, T - 1); both positions count
    from 0. Errors: ConfigError (study.no_such_position).
    """
    n = losses_BT.shape[1]
    if not 0 <= early < late < n:
        raise ConfigError(
            f"positions {early} and {late}",
            f"two of 0 to {n - 1}, the later one last",
            code="study.no_such_position",
        )
    return float((losses_BT[:, late] - losses_BT[:, early]).mean())
