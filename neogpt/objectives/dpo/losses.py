"""Losses on pairs of answers. A further loss is one more function here, with `@loss` above it.

Each takes the margin beta * (score of chosen - score of rejected), where the score of an answer is its
log-probability under the policy minus that under the reference (reference-free: the first alone), divided by its
length where the loss is length-normalized.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from neogpt import plugins
from neogpt.errors import ConfigError
from neogpt.objectives.dpo.config import Config


@dataclass(frozen=True)
class Loss:
    """A loss per pair and what it is computed from."""

    function: Callable[[Tensor, Config], Tensor]
    reference_free: bool
    normalized: bool
    smooths: bool


LOSSES: dict[str, Loss] = {}


def loss(
    reference_free: bool = False, normalized: bool = False, smooths: bool = False
) -> Callable[[Callable[[Tensor, Config], Tensor]], Callable[[Tensor, Config], Tensor]]:
    """Enter a function (margins (N,), settings) -> losses (N,) under its name.

    normalized: as published, scores are divided by the answer's length. smooths: it reads label_smoothing.
    """

    def enter(function: Callable[[Tensor, Config], Tensor]) -> Callable[[Tensor, Config], Tensor]:
        LOSSES[function.__name__] = Loss(function, reference_free, normalized, smooths)
        return function

    return enter


@loss(smooths=True)
def sigmoid(margin_N: Tensor, options: Config) -> Tensor:
    """DPO (Rafailov et al. 2023); with label smoothing s, a share s of labels is taken to be wrong (cDPO)."""
    s = options.label_smoothing
    return -(1 - s) * logsigmoid(margin_N) - s * logsigmoid(-margin_N)


@loss(normalized=True)
def ipo(margin_N: Tensor, options: Config) -> Tensor:
    """IPO (Azar et al. 2023, eq. 17): the scores' difference is drawn to 1 / (2 beta); normalized as its authors do."""
    return ((margin_N - 0.5) / options.beta).square()


@loss(reference_free=True, normalized=True, smooths=True)
def simpo(margin_N: Tensor, options: Config) -> Tensor:
    """SimPO (Meng et al. 2024): no reference, length-normalized, and a target margin gamma."""
    return sigmoid(margin_N - options.gamma, options)


@loss()
def hinge(margin_N: Tensor, options: Config) -> Tensor:
    """SLiC's hinge (Zhao et al. 2023) on DPO's margin (Liu et al. 2023, "RSO")."""
    return (1 - margin_N).relu()


def chosen_loss(options: Config) -> Loss:
    """The loss that the settings name; ConfigError for an unknown one, and for settings that mean nothing to it."""
    if options.loss not in LOSSES:
        raise plugins.unknown("preference loss", options.loss, sorted(LOSSES))
    found = LOSSES[options.loss]
    if not options.beta > 0:
        raise ConfigError(
            f"beta is {options.beta}", "a number above 0", "--objective.beta 0.1", code="config.out_of_range"
        )
    if not 0 <= options.label_smoothing < 0.5:
        raise ConfigError(
            f"label_smoothing is {options.label_smoothing}",
            "a number from 0 to below 0.5",
            code="config.out_of_range",
        )
    if options.label_smoothing and not found.smooths:
        smooth = ", ".join(name for name, loss in LOSSES.items() if loss.smooths)
        raise ConfigError(
            f"the loss {options.loss} has no label smoothing",
            f"one of {smooth}",
            code="config.no_label_smoothing",
        )
    return found


def is_normalized(options: Config) -> bool:
    """Whether scores are divided by the answer's length."""
    if options.length_normalized == "as-published":
        return LOSSES[options.loss].normalized
    return options.length_normalized == "yes"
