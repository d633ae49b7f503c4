"""What a stage of training changed: weight differences by component, and hybrids of two stages.

A hybrid is one stage's model with some parameters of the other's. If DPO's refusals come along with DPO's MLPs alone,
the MLPs carry them. A score of a hybrid says what those parameters do among the others, not what they do alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies import world
from neogpt.studies.interpretability.weight_edits import hybrid
from neogpt.studies.subjects import Subject


@dataclass(frozen=True)
class Change:
    """How a parameter differs between two stages."""

    name: str
    shape: tuple[int, ...]
    relative: float
    """Frobenius norm of the difference, as a share of the earlier weight's."""
    rank_90: int | None
    """Singular values that hold 90 % of the difference's squared norm; None for vectors and where nothing changed."""
    stable_rank: float | None
    """Squared Frobenius norm over the squared largest singular value: from 1, one direction, up to the full rank."""


@torch.no_grad()
def weight_changes(before: GPT2, after: GPT2) -> list[Change]:
    """Each parameter's difference; attention's query, key and value matrices apart, as they do different things.

    Errors: ConfigError (study.other_shape).
    """
    if before.config != after.config:
        raise ConfigError(
            "the two models have different shapes", "two stages of one model", code="study.other_shape"
        )
    later = dict(after.named_parameters())
    found = []
    for name, parameter in before.named_parameters():
        for suffix, old, new in _pieces(name, parameter, later[name]):
            found.append(_change(name.removeprefix("transformer.") + suffix, old, new))
    return found


def _pieces(name: str, old: Tensor, new: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    if ".c_attn." not in name:
        return [("", old, new)]
    thirds = zip((".q", ".k", ".v"), old.chunk(3, -1), new.chunk(3, -1), strict=True)
    return list(thirds)


def _change(name: str, old: Tensor, new: Tensor) -> Change:
    difference = (new - old).double()
    norm = float(difference.norm())
    relative = norm / float(old.double().norm()) if float(old.norm()) else float("nan" if not norm else "inf")
    if old.dim() < 2 or not norm:
        return Change(name, tuple(old.shape), relative, None, None)
    energy = torch.linalg.svdvals(difference) ** 2
    rank_90 = int((energy.cumsum(0) < 0.9 * energy.sum()).sum()) + 1
    return Change(name, tuple(old.shape), relative, rank_90, float(energy.sum() / energy[0]))


def swaps(n_layer: int) -> dict[str, Callable[[str], bool]]:
    """The hybrids that are asked about: what is taken from the other stage, by name."""
    named: dict[str, Callable[[str], bool]] = {
        "nothing": lambda name: False,
        "all attention": lambda name: ".attn." in name or ".ln_1." in name,
        "all MLPs": lambda name: ".mlp." in name or ".ln_2." in name,
        "embeddings": lambda name: name.endswith(("wte.weight", "wpe.weight")) or ".ln_f." in name,
    }
    for layer in range(n_layer):
        named[f"layer {layer}"] = _of_layer(layer)
    return {**named, "everything": lambda name: True}


def _of_layer(layer: int) -> Callable[[str], bool]:
    return lambda name: f".h.{layer}." in name


def hybrid_scores(
    before: Subject, after: Subject, limit: int | None = None, tell: Callable[[str], None] = lambda name: None
) -> dict[str, dict[str, float]]:
    """The exam of `before` with parts of `after`, by what was taken; the last has taken all and is `after` itself.

    Errors: ConfigError: study.other_shape, study.needs_tinyworld.
    """
    world.config_of(before)
    found = {}
    for name, takes in swaps(before.model.config.n_layer).items():
        found[name] = world.exam_scores(before, hybrid(before.model, after.model, takes), limit)
        tell(name)
    return found
