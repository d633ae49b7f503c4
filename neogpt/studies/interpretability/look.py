"""One prompt through one model: all that a page about it shows, read off once. Plain numbers come out.

T tokens of the prompt, L layers, H heads, S tokens shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from neogpt.model import GPT2
from neogpt.studies import subjects
from neogpt.studies.interpretability.activations import Edit, activations, unembed
from neogpt.studies.interpretability.attribution import direct_logit_attribution, gradient_x_input
from neogpt.studies.interpretability.components import Component
from neogpt.studies.interpretability.heads import HeadScores, repeats, scores_on
from neogpt.studies.interpretability.lens import LensReadings, decision_depth, lens_readings
from neogpt.studies.interpretability.weight_edits import without
from neogpt.studies.subjects import Subject

N_TOP = 5
COLUMNS = 10
"""Positions, the last ones, whose lens is shown."""
MAP_TOKENS = 64
"""Tokens, the last ones, whose attention maps are shown."""
ANSWER_TOKENS = 24
SCORE_TOKENS = 96
"""Length of the random repeats that heads are scored on, where the context has room."""


@dataclass(frozen=True)
class Guesses:
    """What comes next: the likeliest tokens and what the model goes on to say."""

    ids: list[int]
    probs: list[float]
    answer: str


@dataclass(frozen=True)
class Look:
    """What one model does with the prompt; all about the prompt's last position unless it says otherwise."""

    subject: Subject
    tokens: list[int]
    target: int
    next: Guesses
    ablated: Guesses | None
    """The same without the components that were switched off."""
    lens: LensReadings
    """Of one row and the last COLUMNS positions; the target of the last is the prompt's target."""
    attribution: dict[str, float]
    """What each part adds to the target's logit (less the other token's, where there is one)."""
    gradient: list[float]
    """Gradient times input of each token, (T,)."""
    looks_at: Tensor
    """(L, H, T): attention from the last position."""
    maps: Tensor
    """(L, H, S, S): attention among the last S tokens."""
    scores: HeadScores | None

    @property
    def logit(self) -> float:
        return sum(self.attribution.values())

    @property
    def depth(self) -> int:
        """The layer from which the target is the likeliest token to the end; L + 1: never."""
        return decision_depth(self.lens.target_ranks[:, 0, -1])

    def attention_of(self, head: str) -> list[float]:
        """Where that head (`L2H3`) looks from the last position, (T,)."""
        component = Component.parse(head)
        return [float(p) for p in self.looks_at[component.layer or 0, component.head or 0]]


def look_at(
    subject: Subject,
    tokens: Sequence[int],
    target: int,
    against: int | None = None,
    off: Sequence[Component] = (),
    score_rows: int = 16,
) -> Look:
    """What `subject` does with the prompt `tokens`, asked about the next token `target` (less `against`).

    `off`: components to switch off for a second answer. `score_rows`: rows of random repeats that heads are scored on;
    0: no scores. Errors: ConfigError, those of `activations`; study.prompt_too_long when no room is left to answer.
    """
    model = subject.model
    tokens_1T = torch.tensor([list(tokens)], device=model.device)
    targets_1, others_1 = torch.tensor([target]), None if against is None else torch.tensor([against])
    shown = range(max(0, len(tokens) - COLUMNS), len(tokens))
    following_1T = torch.tensor([[*tokens[1:], target]], device=model.device)
    looks_at, maps = _patterns(model, tokens_1T)
    attribution = direct_logit_attribution(model, tokens_1T, targets_1, -1, others_1)
    return Look(
        subject=subject,
        tokens=list(tokens),
        target=target,
        next=_guesses(subject, tokens),
        ablated=_guesses(_replaced(subject, off), tokens) if off else None,
        lens=lens_readings(model, tokens_1T, following_1T, N_TOP, shown),
        attribution=attribution.by_name(),
        gradient=gradient_x_input(model, tokens_1T, targets_1, -1, others_1)[0].tolist(),
        looks_at=looks_at,
        maps=maps,
        scores=_scores(subject, score_rows) if score_rows else None,
    )


def likeliest(subject: Subject, tokens: Sequence[int]) -> int:
    """The id of the likeliest next token."""
    return int(_next_logits(subject.model, tokens).argmax())


def _next_logits(model: GPT2, tokens: Sequence[int]) -> Tensor:
    """Logits of the token after the last, (V,)."""
    name = f"h.{model.config.n_layer - 1}.resid_post"
    kept = activations(model, torch.tensor([list(tokens)], device=model.device), [name])
    with torch.no_grad():
        return unembed(model, kept[name][0, -1])


def _guesses(subject: Subject, tokens: Sequence[int]) -> Guesses:
    best = _next_logits(subject.model, tokens).softmax(-1).topk(N_TOP)
    room = subject.model.config.n_positions - len(tokens)
    answer = subjects.answers(subject, [tokens], min(ANSWER_TOKENS, room))[0] if room else ""
    return Guesses(best.indices.tolist(), best.values.tolist(), answer)


def _replaced(subject: Subject, off: Sequence[Component]) -> Subject:
    return replace(subject, model=without(subject.model, off))


def _patterns(model: GPT2, tokens_1T: Tensor) -> tuple[Tensor, Tensor]:
    """Attention from the last position, (L, H, T), and among the last tokens, (L, H, S, S): no whole table is kept."""
    last: list[Tensor] = []
    near: list[Tensor] = []

    def grab(pattern_1HTT: Tensor) -> Tensor:
        last.append(pattern_1HTT[0, :, -1].clone())
        near.append(pattern_1HTT[0, :, -MAP_TOKENS:, -MAP_TOKENS:].clone())
        return pattern_1HTT

    edits: dict[str, Edit] = {f"h.{i}.attn.pattern": grab for i in range(model.config.n_layer)}
    activations(model, tokens_1T, (), edits)
    return torch.stack(last).cpu(), torch.stack(near).cpu()


def _scores(subject: Subject, n_rows: int) -> HeadScores:
    config = subject.model.config
    length = min(config.n_positions, SCORE_TOKENS)
    return scores_on(subject.model, repeats(subject.model, n_rows, length, eot_id=subject.tokenizer.eot_id))


def as_json(looks: Sequence[Look]) -> dict[str, Any]:
    """The same as plain values, for a script."""
    first = looks[0]
    tokenizer = first.subject.tokenizer
    return {
        "tokens": [{"id": i, "text": subjects.token_text(tokenizer, i)} for i in first.tokens],
        "target": {"id": first.target, "text": subjects.token_text(tokenizer, first.target)},
        "models": [_one(look) for look in looks],
    }


def _one(look: Look) -> dict[str, Any]:
    def named(guesses: Guesses) -> dict[str, Any]:
        texts = [subjects.token_text(look.subject.tokenizer, i) for i in guesses.ids]
        return {"tokens": texts, "probs": guesses.probs, "answer": guesses.answer}

    scores = look.scores
    return {
        "label": look.subject.label,
        "folder": str(look.subject.folder),
        "next": named(look.next),
        "ablated": named(look.ablated) if look.ablated else None,
        "target_logit": look.logit,
        "target_probs_by_layer": look.lens.target_probs[:, 0, -1].tolist(),
        "target_ranks_by_layer": look.lens.target_ranks[:, 0, -1].tolist(),
        "decision_depth": look.depth,
        "lens_top_ids": look.lens.top_ids[:, 0].tolist(),
        "lens_top_probs": look.lens.top_probs[:, 0].tolist(),
        "attribution": look.attribution,
        "gradient_x_input": look.gradient,
        "attention_from_last": look.looks_at.tolist(),
        "head_scores": {
            name: getattr(scores, name).tolist() for name in ("previous", "duplicate", "induction")
        }
        if scores
        else None,
    }
