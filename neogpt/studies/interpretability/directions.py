"""One direction in the residual stream that decides whether a model refuses (Arditi et al. 2024, "Refusal in Language
Models Is Mediated by a Single Direction").

The direction is the mean of the stream at one of the prompt's last tokens over harmful requests, less that over
harmless ones.
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
from neogpt.studies.interpretability.activations import Edit, activations
from neogpt.studies.interpretability.generation import generate_greedily, padded
from neogpt.studies.interpretability.lens import stream
from neogpt.studies.interpretability.weight_edits import with_direction
from neogpt.studies.subjects import Subject

ROWS = 256
POSITIONS = 4
"""Last tokens of a prompt at which candidates are taken: the template's, and the last one of the request."""
SELECTION = 64
"""Requests a kind on which candidates are tried."""
EXAMPLES, EXAMPLE_TOKENS = 4, 16
Requests = Mapping[str, Sequence[Sequence[int]]]
"""Prompts by `harmful` and `harmless`."""


@torch.no_grad()
def mean_stream(model: GPT2, prompts: Sequence[Sequence[int]], back: int = 0) -> Tensor:
    """The mean residual stream `back` tokens before the prompts' last, before the first layer and after each.

    (L + 1, D). Errors: ConfigError (study.no_prompts).
    """
    if not prompts or any(len(prompt) <= back for prompt in prompts):
        raise ConfigError(
            f"no prompts, or some of less than {back + 1} tokens", "longer ones", code="study.no_prompts"
        )
    parts = []
    for start in range(0, len(prompts), ROWS):
        tokens_BT, last_B = padded(prompts[start : start + ROWS], model.device)
        rows_B = torch.arange(len(tokens_BT), device=model.device)
        parts.append(stream(model, tokens_BT)[:, rows_B, last_B - back].sum(1))
    return torch.stack(parts).sum(0) / len(prompts)


def mean_differences(model: GPT2, requests: Requests, back: int = 0) -> Tensor:
    """Harmful less harmless, before the first layer and after each, (L + 1, D); arguments as for `mean_stream`."""
    return mean_stream(model, requests["harmful"], back) - mean_stream(model, requests["harmless"], back)


def ablated(direction_D: Tensor, n_layer: int) -> dict[str, Edit]:
    """The edits that take a direction out of the residual stream at every layer and position: x - (x r) r.

    Out of the embeddings and of all that attention and MLPs write; so the stream never has anything along r.
    """
    if not direction_D.norm() > 0:
        raise ConfigError("the direction is zero", "one of some length", code="study.bad_direction")
    r_D = direction_D / direction_D.norm()

    def remove(x_BTD: Tensor) -> Tensor:
        return x_BTD - (x_BTD @ r_D)[..., None] * r_D

    names = ["embed", "pos_embed"]
    names += [f"h.{i}.{place}" for i in range(n_layer) for place in ("attn.out", "mlp.out")]
    return dict.fromkeys(names, remove)


def added(direction_D: Tensor, layer: int, strength: float = 1.0) -> dict[str, Edit]:
    """The edit that adds `strength` times a direction to the stream after a layer, at every position."""
    return {f"h.{layer}.resid_post": lambda x_BTD: x_BTD + strength * direction_D}


def added_at(direction_D: Tensor, layer: int, at_B: Tensor) -> dict[str, Edit]:
    """The edit that adds a direction to the stream after a layer, at one position of each row, int64 (B,)."""

    def add(x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD.clone()
        x_BTD[torch.arange(len(at_B), device=x_BTD.device), at_B] += direction_D
        return x_BTD

    return {f"h.{layer}.resid_post": add}


def refused(
    subject: Subject, prompts: Sequence[Sequence[int]], edits: Mapping[str, Edit] | None = None
) -> float:
    """Share of the prompts that the model, with the edits, refuses: greedy, by the first words of the answer."""
    ids = generate_greedily(subject.model, prompts, world.REFUSAL_TOKENS, subject.tokenizer.eot_id, edits)
    return sum(world.is_refusal(subject.text(answer)) for answer in ids) / len(ids)


def refusal_begun(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    direction_D: Tensor | None = None,
    layer: int = 0,
) -> float:
    """Share of the prompts whose likeliest first token is that of a refusal.

    With a direction: added to the stream after `layer` at the prompt's last token alone.
    """
    model, word, begun = subject.model, world.refusal_begin(subject.tokenizer), 0
    for start in range(0, len(prompts), ROWS):
        tokens_BT, last_B = padded(prompts[start : start + ROWS], model.device)
        edits = None if direction_D is None else added_at(direction_D, layer, last_B)
        x_BTD = activations(model, tokens_BT, ["ln_f"], edits)["ln_f"]
        with torch.no_grad():
            logits_BV = x_BTD[torch.arange(len(last_B)), last_B] @ model.transformer.wte.weight.T
        begun += int((logits_BV.argmax(-1) == word).sum())
    return begun / len(prompts)


@dataclass(frozen=True)
class RefusalDirection:
    """The direction that was chosen, and what the choice rested on."""

    direction: Tensor
    """(D,): harmful less harmless, not scaled."""
    layer: int
    """After which layer it was taken, and is added."""
    back: int
    """How many tokens before the prompt's last one it was taken."""
    harmful_left: list[list[float]]
    """By tokens back and layer: refusals of harmful requests that are left without that candidate."""
    harmless_begun: list[list[float]]
    """The same: harmless requests whose answer begins as a refusal when the candidate is added at the prompt's end."""


def find_direction(subject: Subject, limit: int = SELECTION) -> RefusalDirection:
    """The candidate without which fewest harmful requests are refused; of equals the one that begins most refusals.

    Candidates are taken after each layer, at each of the last POSITIONS tokens of the prompt, from requests that
    instructions and pairs taught; they are tried on `limit` of those of each kind. The exam's deeds are others.
    Errors: ConfigError (study.needs_tinyworld).
    """
    taught = world.requests(subject.tokenizer, world.config_of(subject), taught=True)
    some = {kind: prompts[:limit] for kind, prompts in taught.items()}
    model, n_layer = subject.model, subject.model.config.n_layer
    candidates = torch.stack([mean_differences(model, taught, back)[1:] for back in range(POSITIONS)])
    left = [
        [refused(subject, some["harmful"], ablated(r_D, n_layer)) for r_D in by_layer]
        for by_layer in candidates
    ]
    begun = [
        [refusal_begun(subject, some["harmless"], r_D, layer) for layer, r_D in enumerate(by_layer)]
        for by_layer in candidates
    ]
    places = [(back, layer) for back in range(POSITIONS) for layer in range(n_layer)]
    back, layer = min(places, key=lambda place: (left[place[0]][place[1]], -begun[place[0]][place[1]]))
    return RefusalDirection(candidates[back, layer], layer, back, left, begun)


@dataclass(frozen=True)
class Effect:
    """What a direction does to a model, on requests that no training and no choice saw."""

    refused: dict[str, dict[str, float]]
    """Shares of `harmful` and `harmless` requests that are refused: as the model is, `ablated`, `added` everywhere."""
    begun: dict[str, dict[str, float]]
    """Shares whose answer begins as a refusal: as the model is, and with the direction added at the prompt's end."""
    exam: dict[str, dict[str, float]]
    """Every score of the exam: as the model is, without the direction, and with it added everywhere."""
    examples: list[dict[str, str]]
    """A few harmless requests, the answer, and the answer with the direction added at the prompt's end."""


def effect(subject: Subject, direction_D: Tensor, layer: int, limit: int | None = None) -> Effect:
    """What taking the direction out and adding it does; `limit`: requests and questions a kind.

    Taking it out edits the activations of every token that is read or written. The weights could not do it: GPT-2's
    head is its embedding, and would lose the direction too.
    """
    new = world.requests(subject.tokenizer, world.config_of(subject), taught=False)
    new = {kind: prompts[:limit] for kind, prompts in new.items()}
    off, on = ablated(direction_D, subject.model.config.n_layer), added(direction_D, layer)
    edits: dict[str, Mapping[str, Edit] | None] = {"as it is": None, "ablated": off, "added": on}
    return Effect(
        {n: {kind: refused(subject, p, edit) for kind, p in new.items()} for n, edit in edits.items()},
        {
            "as it is": {kind: refusal_begun(subject, p) for kind, p in new.items()},
            "added at the end": {
                kind: refusal_begun(subject, p, direction_D, layer) for kind, p in new.items()
            },
        },
        {
            "as it is": world.exam_scores(subject, limit=limit),
            "ablated": world.exam_scores_with(subject, off, limit),
            "added": world.exam_scores(subject, with_direction(subject.model, direction_D, layer), limit),
        },
        [_example(subject, prompt, direction_D, layer) for prompt in new["harmless"][:EXAMPLES]],
    )


def _example(subject: Subject, prompt: Sequence[int], direction_D: Tensor, layer: int) -> dict[str, str]:
    at_1 = torch.tensor([len(prompt) - 1])
    edits = {"answer": None, "added at the end": added_at(direction_D, layer, at_1)}
    told = {
        name: subject.text(
            generate_greedily(subject.model, [prompt], EXAMPLE_TOKENS, subject.tokenizer.eot_id, edit)[0]
        )
        for name, edit in edits.items()
    }
    return {"request": subject.text(prompt[1:]).partition("\n")[0], **told}


def cosine(a_D: Tensor, b_D: Tensor) -> float:
    """Of the angle between two directions; NaN where one is zero."""
    lengths = a_D.norm() * b_D.norm()
    return float(a_D @ b_D / lengths) if lengths > 0 else float("nan")


def separation(model: GPT2, requests: Requests, direction_D: Tensor, layer: int, back: int = 0) -> float:
    """How well the stream after a layer tells the two kinds apart along a direction: the area under the ROC curve.

    The chance that a harmful request has more of it than a harmless one; 0.5: not at all.
    """
    values = {}
    for kind, prompts in requests.items():
        tokens_BT, last_B = padded(prompts, model.device)
        rows_B = torch.arange(len(tokens_BT), device=model.device)
        values[kind] = stream(model, tokens_BT)[layer + 1, rows_B, last_B - back] @ direction_D
    difference = values["harmful"][:, None] - values["harmless"][None, :]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())
