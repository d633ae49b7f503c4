"""The parts of a model that can be switched off or exchanged, and what becomes of its logits without them.

A component is written `L2H3` (head 3 of layer 2), `L2.attn`, `L2.mlp` (what a whole sublayer writes), `L2.resid`
(the residual stream that layer 2 leaves behind), `embed` or `pos_embed`; layers and heads count from 0.

B rows, T tokens, D n_embd, H heads, K head size, V vocabulary.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies.interpretability.activations import Edit, activations
from neogpt.studies.interpretability.checks import check_index, check_input

Kind = Literal["head", "attn", "mlp", "resid", "embed", "pos_embed"]
How = Literal["zero", "mean"]
_HEAD, _SUBLAYER = re.compile(r"L(\d+)H(\d+)"), re.compile(r"L(\d+)\.(attn|mlp|resid)")
_PLACES: dict[Kind, str] = {"head": "attn.z", "attn": "attn.out", "mlp": "mlp.out", "resid": "resid_post"}


@dataclass(frozen=True, order=True)
class Component:
    """One part of a model; `layer` and `head` are None where the kind has none."""

    kind: Kind
    layer: int | None = None
    head: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The component that `L2H3`, `L2.attn`, `L2.mlp`, `L2.resid`, `embed` or `pos_embed` names.

        Errors: ConfigError (study.no_such_component).
        """
        if text in ("embed", "pos_embed"):
            return cls("embed" if text == "embed" else "pos_embed")
        if match := _HEAD.fullmatch(text):
            return cls("head", int(match[1]), int(match[2]))
        if match := _SUBLAYER.fullmatch(text):
            kinds: dict[str, Kind] = {"attn": "attn", "mlp": "mlp", "resid": "resid"}
            return cls(kinds[match[2]], int(match[1]))
        raise ConfigError(
            f"there is no component named {text!r}",
            "L2H3 (a head), L2.attn, L2.mlp, L2.resid, embed or pos_embed, layers and heads from 0",
            code="study.no_such_component",
        )

    def __str__(self) -> str:
        if self.kind == "head":
            return f"L{self.layer}H{self.head}"
        return self.kind if self.layer is None else f"L{self.layer}.{self.kind}"

    @property
    def activation(self) -> str:
        """The name of the activation that it is, or is a part of (a head: one index of dimension 1)."""
        return self.kind if self.layer is None else f"h.{self.layer}.{_PLACES[self.kind]}"

    def of(self, x: Tensor) -> Tensor:
        """Its own part of that activation: (B, T, K) of a head, else (B, T, D)."""
        return x if self.head is None else x[:, self.head]

    def check(self, model: GPT2) -> None:
        """ConfigError (study.no_such_layer, study.no_such_head) unless this model has it."""
        if self.layer is not None:
            check_index("layer", self.layer, model.config.n_layer)
        if self.head is not None:
            check_index("head", self.head, model.config.n_head)


def heads(model: GPT2) -> list[Component]:
    """All heads, layer by layer."""
    config = model.config
    return [Component("head", i, j) for i in range(config.n_layer) for j in range(config.n_head)]


def sublayers(model: GPT2, kind: Kind) -> list[Component]:
    """That component of each layer."""
    return [Component(kind, layer) for layer in range(model.config.n_layer)]


def ablate(
    model: GPT2,
    tokens_BT: Tensor,
    components: Iterable[Component],
    how: How = "zero",
    where_BT: Tensor | None = None,
    reference_BT: Tensor | None = None,
) -> Tensor:
    """Logits (B, T, V) of the model without these components: what they write is zero, or their mean.

    `where_BT`, bool (B, T): the positions at which they are switched off; by default all. The mean is over all rows
    and positions of `reference_BT`, int64 (any rows, any tokens), by default of `tokens_BT`. A head's values are
    replaced before the output matrix, whose bias stays; `attn` and `mlp` lose their bias too.
    Errors: ConfigError: study.no_such_layer, study.no_such_head, study.bad_positions, those of `check_input`.
    """
    components = _checked(model, tokens_BT, components)
    if how == "zero":
        values: dict[Component, Tensor] = {c: model.transformer.wte.weight.new_zeros(()) for c in components}
    else:
        values = means(model, tokens_BT if reference_BT is None else reference_BT, components)
    return _logits(model, tokens_BT, replacements(components, values, where_BT, tokens_BT))


def patch(
    model: GPT2,
    tokens_BT: Tensor,
    source_BT: Tensor,
    components: Iterable[Component],
    where_BT: Tensor | None = None,
) -> Tensor:
    """Logits (B, T, V) on `tokens_BT` with these components as they are on `source_BT`, both int64 (B, T).

    Activation patching, or causal tracing where `tokens_BT` is the corrupted text (Meng et al. 2022, "Locating and
    Editing Factual Associations in GPT"). `where_BT`, bool (B, T): the positions that are exchanged; by default all.
    Errors: ConfigError: study.bad_source, and those of `ablate`.
    """
    components = _checked(model, tokens_BT, components)
    if source_BT.shape != tokens_BT.shape:
        raise ConfigError(
            f"the source has shape {tuple(source_BT.shape)}",
            f"{tuple(tokens_BT.shape)}, as the tokens it is patched into",
            code="study.bad_source",
        )
    kept = activations(model, source_BT, {c.activation for c in components})
    values = {component: component.of(kept[component.activation]) for component in components}
    return _logits(model, tokens_BT, replacements(components, values, where_BT, tokens_BT))


def means(model: GPT2, tokens_BT: Tensor, components: Iterable[Component]) -> dict[Component, Tensor]:
    """Each component's mean over all rows and positions: (K,) of a head, else (D,)."""
    components = _checked(model, tokens_BT, components)
    kept = activations(model, tokens_BT, {component.activation for component in components})
    return {component: component.of(kept[component.activation]).mean((0, 1)) for component in components}


def replacements(
    components: Sequence[Component],
    values: Mapping[Component, Tensor],
    where_BT: Tensor | None,
    tokens_BT: Tensor,
) -> dict[str, Edit]:
    """The edits, by activation, that put `values` (whatever broadcasts to their parts) in the components' places."""
    if where_BT is None:
        where_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    if where_BT.shape != tokens_BT.shape or where_BT.dtype != torch.bool:
        raise ConfigError(
            f"positions of type {where_BT.dtype} and shape {tuple(where_BT.shape)}",
            f"bool {tuple(tokens_BT.shape)}, as the tokens",
            code="study.bad_positions",
        )
    grouped: dict[str, list[Component]] = {}
    for component in components:
        grouped.setdefault(component.activation, []).append(component)
    return {name: _edit(group, values, where_BT[..., None]) for name, group in grouped.items()}


def _edit(group: Sequence[Component], values: Mapping[Component, Tensor], where_BT1: Tensor) -> Edit:
    def edit(x: Tensor) -> Tensor:
        x = x.clone()
        for component in group:
            part = component.of(x)
            part.copy_(torch.where(where_BT1, values[component].to(part.dtype), part))
        return x

    return edit


def _logits(model: GPT2, tokens_BT: Tensor, edits: Mapping[str, Edit]) -> Tensor:
    return activations(model, tokens_BT, ["logits"], edits)["logits"]


def _checked(model: GPT2, tokens_BT: Tensor, components: Iterable[Component]) -> list[Component]:
    check_input(model, tokens_BT)
    found = list(components)
    for component in found:
        component.check(model)
    return found
