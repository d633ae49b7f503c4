"""What an update rule is: groups of parameters, a state for each of them, and a step."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

from torch import Tensor, nn

Named = list[tuple[str, nn.Parameter]]


class Rule(Protocol):
    """What training asks of an optimizer; torch.optim's have it too."""

    param_groups: list[dict[str, Any]]
    found_inf: Tensor | None
    """Where it is 1 (float32, no dimension, on the device), `step` changes nothing: torch.amp's name for it."""

    @property
    def state(self) -> Any:
        """Parameter -> name -> tensor."""

    def step(self) -> Any:
        """Update every parameter that has a gradient."""


class Optimizer:
    """The groups, and an empty state for each parameter; a subclass has the step.

    Not torch.optim.Optimizer: making one of those loads PyTorch's compiler, 70 MB and more than a second, although
    the update needs none of it.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **defaults: Any) -> None:
        self.param_groups = [{**defaults, **group} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self.found_inf: Tensor | None = None
