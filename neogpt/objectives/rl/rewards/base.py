"""What a reward is told, and how the rewards of a recipe add up.

A reward is a file with a function `reward(answer, known) -> float`, as a rule between 0 and 1, and where it asks
the frozen model, `NEEDS = "log_probs"` or `"log_probs_alone"` (which brings both). A reward that gives no number
ends the run before the weights are touched: it must never be mistaken for a zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import numpy.typing as npt

from neogpt import plugins
from neogpt.data.source import Source
from neogpt.errors import ConfigError, NeoGPTError, RewardError
from neogpt.records import Instruction


@dataclass(frozen=True)
class Answer:
    """What the model wrote for a prompt."""

    prompt: Instruction
    text: str
    """Without end-of-text."""
    tokens: Sequence[int]
    """All that were sampled, with the end-of-text where it came."""
    stopped: bool
    """Whether end-of-text came before the limit."""
    limit: int
    """Most tokens that it could have."""
    log_probs: Sequence[float] = ()
    """Of each token under the frozen model."""
    log_probs_alone: Sequence[float] = ()
    """The same under an empty prompt."""


@dataclass(frozen=True)
class Human:
    """What held-out answers written by people are like."""

    log_prob: tuple[float, float] = (-1.0, 1.0)
    """Mean and standard deviation, over answers, of the log-probability a token under the frozen model."""
    gain: float = 1.0
    """Mean gain in log-probability a token from knowing the prompt (pointwise mutual information)."""
    tokens: tuple[float, float] = (1.0, 1.0)
    """The 5th and the 95th percentile of their lengths, end-of-text included."""


@dataclass(frozen=True)
class Known:
    """What rewards may know beside the answer."""

    source: Source
    human: Human = field(default_factory=Human)


class Rewards:
    """The rewards of a recipe and their weights, from entries such as `format:0.5`.

    Errors: ConfigError for an unknown name, a weight that is no number, or a reward given twice.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self.modules: dict[str, ModuleType] = {}
        self.weights: list[float] = []
        for entry in entries:
            name, _, weight = entry.partition(":")
            if name in self.modules:
                raise ConfigError(
                    f"the reward {name} is given twice", "each reward once", code="reward.given_twice"
                )
            self.modules[name] = plugins.get("neogpt.objectives.rl.rewards", name)
            self.weights.append(_weight(entry, weight))
        if not self.modules:
            raise ConfigError(
                "there is no reward",
                "at least one",
                "--objective.rewards finished:1 format:1",
                code="reward.none",
            )

    @property
    def names(self) -> list[str]:
        return list(self.modules)

    def needs(self, what: str) -> bool:
        """Whether one of the rewards asks for `log_probs` or `log_probs_alone`."""
        return any(getattr(module, "NEEDS", "").startswith(what) for module in self.modules.values())

    def scores(self, answers: Sequence[Answer], known: Known) -> npt.NDArray[np.float64]:
        """What each reward gives each answer: (answers, rewards). RewardError names reward and example."""
        rows = [[_score(name, m, a, known) for name, m in self.modules.items()] for a in answers]
        return np.array(rows, np.float64).reshape(len(answers), len(self.modules))

    def total(self, scores_RK: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The weighted sum of the rewards of each answer, added in the recipe's order."""
        total_R = np.zeros(len(scores_RK))
        for k, weight in enumerate(self.weights):
            total_R += weight * scores_RK[:, k]
        return total_R


def _weight(entry: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ConfigError(
            f"the reward {entry!r} has no weight", "NAME:NUMBER, such as format:0.5", code="reward.no_weight"
        )
    return weight


def _score(name: str, module: ModuleType, answer: Answer, known: Known) -> float:
    try:
        value = module.reward(answer, known)
    except NeoGPTError:
        raise
    except Exception as error:
        raise _reward_error(name, f"failed with {type(error).__name__}: {error}", answer) from error
    if isinstance(value, bool) or not isinstance(value, float | int) or not math.isfinite(value):
        raise _reward_error(name, f"gave {value!r}", answer)
    return float(value)


def _reward_error(name: str, did: str, answer: Answer) -> RewardError:
    request, text = answer.prompt.instruction[:200], answer.text[:200]
    return RewardError(
        f"the reward {name} {did} for the answer {text!r} to the request {request!r}",
        "a finite float for every answer; no update was made",
        f"mend neogpt/objectives/rewards/{name.replace('-', '_')}.py, or leave it out of objective.rewards",
        code="reward.failed",
    )
