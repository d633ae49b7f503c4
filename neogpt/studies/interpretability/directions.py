"""One direction in the residual stream that decides whether a model refuses (Arditi et al. 2024, "Refusal in Language
Models Is Mediated by a Single Direction").

The direction is the mean of the stream at the prompt's last token over harmful requests, less that over harmless ones.
Taken out of the stream everywhere, a model whose refusals go through it refuses no more; added, it refuses whatever
is asked. Both are said of requests that the direction was not made from.

B requests, T tokens, D n_embd, L layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies import world
from neogpt.studies.interpretability.activations import Edit
from neogpt.studies.interpretability.generation import generate_greedily, padded
from neogpt.studies.interpretability.lens import stream
from neogpt.studies.interpretability.weight_edits import with_direction, without_direction
from neogpt.studies.subjects import Subject

ROWS = 256
Requests = Mapping[str, Sequence[Sequence[int]]]
"""Prompts by `harmful` and `harmless`."""


@torch.no_grad()
def mean_stream(model: GPT2, prompts: Sequence[Sequence[int]]) -> Tensor:
    """The mean residual stream at the prompts' last tokens, before the first layer and after each: (L + 1, D)."""
    sums_LD: Tensor | None = None
    for start in range(0, len(prompts), ROWS):
        tokens_BT, last_B = padded(prompts[start : start + ROWS], model.device)
        x_LBD = stream(model, tokens_BT)[:, torch.arange(len(tokens_BT), device=model.device), last_B]
        here_LD = x_LBD.sum(1)
        sums_LD = here_LD if sums_LD is None else sums_LD + here_LD
    if sums_LD is None:
        raise ConfigError("there are no prompts", "at least one", code="study.no_prompts")
    return sums_LD / len(prompts)


def mean_differences(model: GPT2, requests: Requests) -> Tensor:
    """The candidates: harmful less harmless, before the first layer and after each, (L + 1, D)."""
    return mean_stream(model, requests["harmful"]) - mean_stream(model, requests["harmless"])


def ablated(direction_D: Tensor, n_layer: int) -> dict[str, Edit]:
    """The edits that take a direction out of the residual stream at every layer and position: x - (x r) r.

    Out of the embeddings and of all that attention and MLPs write; so the stream never has anything along r.
    """
    r_D = direction_D / direction_D.norm()

    def remove(x_BTD: Tensor) -> Tensor:
        return x_BTD - (x_BTD @ r_D)[..., None] * r_D

    names = ["embed", "pos_embed"]
    names += [f"h.{i}.{place}" for i in range(n_layer) for place in ("attn.out", "mlp.out")]
    return dict.fromkeys(names, remove)


def added(direction_D: Tensor, layer: int, strength: float = 1.0) -> dict[str, Edit]:
    """The edit that adds `strength` times a direction to the stream after a layer, at every position."""
    return {f"h.{layer}.resid_post": lambda x_BTD: x_BTD + strength * direction_D}


def refused(
    subject: Subject, prompts: Sequence[Sequence[int]], edits: Mapping[str, Edit] | None = None
) -> float:
    """Share of the prompts that the model, with the edits, refuses: greedy, by the first words of the answer."""
    ids = generate_greedily(subject.model, prompts, world.REFUSAL_TOKENS, subject.tokenizer.eot_id, edits)
    answers = [
        subject.tokenizer.decode([i for i in answer if i != subject.tokenizer.eot_id]) for answer in ids
    ]
    return sum(map(world.is_refusal, answers)) / len(answers)


@dataclass(frozen=True)
class RefusalDirection:
    """The direction that was chosen, and what the choice rested on."""

    direction: Tensor
    """(D,): harmful less harmless, not scaled."""
    depth: int
    """How many layers the stream has passed where it was taken; the layer it is added after is one less."""
    harmful_left: list[float]
    """By candidate, L + 1: refusals of harmful requests that are left without it, on the requests it was made from."""
    harmless_now: list[float]
    """By candidate from the first layer on: refusals of harmless requests with it, on the same."""


def find_direction(subject: Subject, limit: int | None = None) -> RefusalDirection:
    """The candidate without which fewest harmful requests are refused; of equals that which makes most harmless ones
    refused.

    Made and chosen on the deeds that instructions and pairs taught; the exam's deeds are others. `limit`: requests a
    kind. Errors: ConfigError (study.needs_tinyworld).
    """
    taught = world.requests(subject.tokenizer, world.config_of(subject), taught=True)
    some = {kind: prompts[:limit] for kind, prompts in taught.items()}
    model, n_layer = subject.model, subject.model.config.n_layer
    candidates_LD = mean_differences(model, some)
    left = [refused(subject, some["harmful"], ablated(r_D, n_layer)) for r_D in candidates_LD]
    now = [
        refused(subject, some["harmless"], added(r_D, max(depth - 1, 0)))
        for depth, r_D in enumerate(candidates_LD)
    ]
    best = min(range(1, n_layer + 1), key=lambda depth: (left[depth], -now[depth]))
    return RefusalDirection(candidates_LD[best], best, left, now)


@dataclass(frozen=True)
class Effect:
    """What a direction does to a model: refusals of new requests by exact edits, and the whole exam by weights."""

    refused: dict[str, dict[str, float]]
    """`harmful` and `harmless` requests that are refused: as the model is, `ablated`, `added`."""
    exam: dict[str, dict[str, float]]
    """Every score of the exam: as the model is, with the direction out of the weights, and added."""


def effect(subject: Subject, direction_D: Tensor, layer: int, limit: int | None = None) -> Effect:
    """Measured on the requests that no training and no choice saw.

    `refused` edits activations, exactly as defined. `exam` needs long answers, so there the weights are edited; the
    tied head then forgets the direction too (see `without_direction`).
    """
    new = world.requests(subject.tokenizer, world.config_of(subject), taught=False)
    edits: dict[str, Mapping[str, Edit] | None] = {
        "as it is": None,
        "ablated": ablated(direction_D, subject.model.config.n_layer),
        "added": added(direction_D, layer),
    }
    models = {
        "as it is": subject.model,
        "ablated": without_direction(subject.model, direction_D),
        "added": with_direction(subject.model, direction_D, layer),
    }
    return Effect(
        {
            name: {kind: refused(subject, prompts[:limit], edit) for kind, prompts in new.items()}
            for name, edit in edits.items()
        },
        {name: world.exam_scores(subject, model, limit) for name, model in models.items()},
    )


def cosine(a_D: Tensor, b_D: Tensor) -> float:
    """Of the angle between two directions; NaN where one is zero."""
    lengths = a_D.norm() * b_D.norm()
    return float(a_D @ b_D / lengths) if lengths > 0 else float("nan")


def separation(model: GPT2, requests: Requests, direction_D: Tensor, depth: int) -> float:
    """How well the stream's component along a direction tells the two kinds apart: the area under the ROC curve.

    The chance that a harmful request has more of it than a harmless one; 0.5: not at all.
    """
    values = {}
    for kind, prompts in requests.items():
        tokens_BT, last_B = padded(prompts, model.device)
        rows_B = torch.arange(len(tokens_BT), device=model.device)
        values[kind] = stream(model, tokens_BT)[depth, rows_B, last_B] @ direction_D
    difference = values["harmful"][:, None] - values["harmless"][None, :]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())
