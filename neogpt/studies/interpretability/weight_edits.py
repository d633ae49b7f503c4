"""Interventions on the weights: the result is a GPT-2, which the engine, every eval and every study run as it is.

Switching a part off in the weights is switching it off at every position of every text, also of texts that the model
writes. What can be said of a whole answer (is it a refusal? is the list right?) is so measured by the same exams as
for every model.

L layers, H heads, K head size, D n_embd.
"""

import copy
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies.interpretability.activations import blocks
from neogpt.studies.interpretability.components import Component


@torch.no_grad()
def without(
    model: GPT2, components: Iterable[Component], means: Mapping[Component, Tensor] | None = None
) -> GPT2:
    """A copy of the model in which heads, attention sublayers or MLPs write nothing, or always their mean.

    `means`: what `components.means` gives; without it they write zero. The logits are those of `ablate`.
    Errors: ConfigError for components that are not there, or write no such thing (study.no_such_component).
    """
    edited = copy.deepcopy(model)
    for component in components:
        component.check(model)
        mean = None if means is None else means[component]
        if component.kind == "head":
            _silence_head(edited, component, mean)
        elif component.kind in ("attn", "mlp"):
            block = blocks(edited)[component.layer or 0]
            out = block.attn.c_proj if component.kind == "attn" else block.mlp.c_proj
            out.weight.zero_()
            out.bias.copy_(torch.zeros_like(out.bias) if mean is None else mean)
        else:
            raise ConfigError(
                f"{component} is no part that can be switched off in the weights",
                "heads (L2H3), L2.attn or L2.mlp",
                code="study.no_such_component",
            )
    return edited


def _silence_head(model: GPT2, component: Component, mean_K: Tensor | None) -> None:
    """A head writes its values times its K rows of the output matrix: these become 0; its mean goes to the bias."""
    out = blocks(model)[component.layer or 0].attn.c_proj
    weight_HKD = out.weight.view(model.config.n_head, -1, model.config.n_embd)
    head = component.head or 0
    if mean_K is not None:
        out.bias.add_(mean_K @ weight_HKD[head])
    weight_HKD[head] = 0


@torch.no_grad()
def with_direction(model: GPT2, direction_D: Tensor, layer: int, strength: float = 1.0) -> GPT2:
    """A copy that adds `strength` times the direction to the stream after a layer, at every position.

    By the bias of that layer's MLP output. Errors: ConfigError (study.no_such_layer, study.bad_direction).
    """
    Component("mlp", layer).check(model)
    if direction_D.shape != (model.config.n_embd,):
        raise ConfigError(
            f"a direction of shape {tuple(direction_D.shape)}",
            f"({model.config.n_embd},), as the residual stream",
            code="study.bad_direction",
        )
    edited = copy.deepcopy(model)
    blocks(edited)[layer].mlp.c_proj.bias.add_(direction_D, alpha=strength)
    return edited


@torch.no_grad()
def hybrid(base: GPT2, other: GPT2, takes: Callable[[str], bool]) -> GPT2:
    """A copy of `base` with the parameters whose name `takes` from `other`, which has the same shape.

    Errors: ConfigError (study.other_shape).
    """
    if base.config != other.config:
        raise ConfigError(
            "the two models have different shapes", "two stages of one model", code="study.other_shape"
        )
    edited = copy.deepcopy(base)
    theirs = dict(other.named_parameters())
    for name, parameter in edited.named_parameters():
        if takes(name):
            parameter.copy_(theirs[name])
    return edited
