"""Where a fact lives: causal tracing over all facts of tinyworld.

A begun sentence is read twice: as it is, and corrupted, with another name (or with noise) where the person's name
stands. Then one part of the model at one place is put back to what it was on the true sentence. What that brings back
of the true answer's probability says how much of the fact passes there (Meng et al. 2022, "Locating and Editing
Factual Associations in GPT"). In tinyworld every fact is known, so the mean is over all of them.

B facts, T tokens, D n_embd, L layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies import world
from neogpt.studies.interpretability.activations import Edit, activations
from neogpt.studies.interpretability.components import replacements, sublayers
from neogpt.studies.interpretability.generation import likeliest
from neogpt.studies.statistics import Estimate, estimate
from neogpt.studies.subjects import Subject

Corruption = Literal["swap", "noise"]
Role = Literal["before", "subject", "between", "last"]
ROLES: tuple[Role, ...] = ("before", "subject", "between", "last")
"""Places in a sentence: before the name, the name, after it, and the last token, after which the value comes."""
KINDS: tuple[Literal["resid", "attn", "mlp"], ...] = ("resid", "attn", "mlp")
NOISE = 3.0
"""Standard deviations of the embeddings, as Meng et al. take it."""
ROWS = 128


@dataclass(frozen=True)
class Trace:
    """What restoring each part brings back, over the facts that the model knows."""

    n_facts: int
    n_known: int
    """Of them the model ends with the true value."""
    clean: Estimate
    """Probability of the true value on the true sentence."""
    corrupted: Estimate
    """The same on the corrupted sentence."""
    restored: dict[str, dict[str, Estimate]]
    """By component (`L2.mlp`) and place: the gain in probability over the corrupted sentence."""


def trace(
    subject: Subject, corruption: Corruption = "swap", limit: int | None = None, seed: int = 0
) -> Trace:
    """Causal tracing of `subject`'s facts, the first `limit` of them.

    Only facts that the model ends rightly count. `swap`: the corrupted sentence names another person, whose value is
    another one; `noise`: normal noise of three standard deviations on the name's embedding.
    Errors: ConfigError: study.needs_tinyworld; study.no_facts where the model knows none.
    """
    config = world.config_of(subject)
    found = world.facts(subject.tokenizer, config)[:limit]
    known = [
        fact
        for fact, value in zip(found, likeliest(subject.model, [f.begun for f in found]), strict=True)
        if fact.value == value
    ]
    if not known:
        raise ConfigError(
            f"{subject.label} ends none of {len(found)} facts rightly",
            "a model that knows some facts: there is nothing to trace else",
            "another checkpoint, or a run of more steps",
            code="study.no_facts",
        )
    gains: dict[str, dict[str, list[float]]] = {}
    clean: list[float] = []
    corrupted: list[float] = []
    generator = torch.Generator().manual_seed(seed)
    for batch in _batches(known, found):
        _trace_batch(subject.model, batch, corruption, generator, gains, clean, corrupted)
    restored = {
        part: {role: estimate(values) for role, values in by_role.items()} for part, by_role in gains.items()
    }
    return Trace(len(found), len(known), estimate(clean), estimate(corrupted), restored)


@dataclass(frozen=True)
class _Batch:
    """Facts of one form: the name stands in the same place and the sentence is as long."""

    tokens_BT: Tensor
    swapped_BT: Tensor
    values_B: Tensor
    subject: list[int]


def _batches(known: Sequence[world.Fact], everything: Sequence[world.Fact]) -> Iterator[_Batch]:
    """The known facts by form, each beside the same sentence about somebody else, whose value is another one."""
    forms: dict[tuple[str, int, tuple[int, ...]], list[world.Fact]] = {}
    for fact in everything:
        forms.setdefault((fact.attribute, len(fact.begun), tuple(fact.subject)), []).append(fact)
    wanted = {(fact.person, fact.attribute) for fact in known}
    for (_, _, place), group in forms.items():
        rows = []
        for i, fact in enumerate(group):
            others = [*group[i + 1 :], *group[:i]]
            other = next((o for o in others if o.value != fact.value), None)
            if other and (fact.person, fact.attribute) in wanted:
                rows.append((fact.begun, other.begun, fact.value))
        for start in range(0, len(rows), ROWS):
            begun, swapped, values = (torch.tensor(x) for x in zip(*rows[start : start + ROWS], strict=True))
            yield _Batch(begun, swapped, values, list(place))


def _trace_batch(
    model: GPT2,
    batch: _Batch,
    corruption: Corruption,
    generator: torch.Generator,
    gains: dict[str, dict[str, list[float]]],
    clean: list[float],
    corrupted: list[float],
) -> None:
    """Adds each fact's probabilities and gains to the lists."""
    tokens_BT = batch.tokens_BT.to(model.device)
    values_B = batch.values_B.to(model.device)
    base: dict[str, Edit] = {}
    if corruption == "swap":
        corrupted_BT = batch.swapped_BT.to(model.device)
    else:
        corrupted_BT, base = tokens_BT, {"embed": _noise(model, batch, generator)}
    components = [component for kind in KINDS for component in sublayers(model, kind)]
    sources = activations(model, tokens_BT, ["logits", *(c.activation for c in components)])
    clean_B = _probability(sources["logits"], values_B)
    broken_B = _probability(activations(model, corrupted_BT, ["logits"], base)["logits"], values_B)
    clean += clean_B.tolist()
    corrupted += broken_B.tolist()
    for component in components:
        for role, where_BT in _roles(batch, tokens_BT).items():
            edits = replacements(
                [component], {component: sources[component.activation]}, where_BT, corrupted_BT
            )
            logits_BTV = activations(model, corrupted_BT, ["logits"], {**base, **edits})["logits"]
            gain_B = _probability(logits_BTV, values_B) - broken_B
            gains.setdefault(str(component), {}).setdefault(role, []).extend(gain_B.tolist())


def _noise(model: GPT2, batch: _Batch, generator: torch.Generator) -> Edit:
    """Adds noise to the name's embedding: the same each time the sentence is read."""
    deviation = float(model.transformer.wte.weight.detach().std())
    B, T = batch.tokens_BT.shape
    drawn_BTD = torch.zeros(B, T, model.config.n_embd)
    drawn_BTD[:, batch.subject] = torch.randn(B, len(batch.subject), model.config.n_embd, generator=generator)
    noise_BTD = (NOISE * deviation * drawn_BTD).to(model.device)
    return lambda x_BTD: x_BTD + noise_BTD


def _roles(batch: _Batch, tokens_BT: Tensor) -> dict[Role, Tensor]:
    """The positions of each place that the sentence has, as bool (B, T)."""
    T, name = tokens_BT.shape[1], batch.subject
    places: Mapping[Role, range | list[int]] = {
        "before": range(name[0]), "subject": name, "between": range(name[-1] + 1, T - 1), "last": [T - 1],
    }  # fmt: skip
    found: dict[Role, Tensor] = {}
    for role, positions in places.items():
        if len(positions):
            found[role] = torch.zeros_like(tokens_BT, dtype=torch.bool)
            found[role][:, list(positions)] = True
    return found


def _probability(logits_BTV: Tensor, values_B: Tensor) -> Tensor:
    """Probability of each row's value after its last token, (B,)."""
    return logits_BTV[:, -1].softmax(-1).gather(-1, values_B[:, None])[:, 0]
