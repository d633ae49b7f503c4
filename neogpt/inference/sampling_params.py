"""How a text is drawn: the settings, and random numbers that depend on nothing but what they are for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neogpt.data.splitmix import GOLDEN, finalize, finalize_each, splitmix64
from neogpt.errors import ConfigError

_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen, and when a text ends. ConfigError for a value that cannot be meant."""

    max_new_tokens: int = 128
    """Most tokens to add to the prompt; the model's context may end a text earlier."""
    temperature: float = 0.8
    """Logits are divided by it: below 1 safer, above 1 wilder. 0: greedy."""
    top_k: int = 0
    """Draw only from this many of the most probable tokens; 0: from all."""
    top_p: float = 1.0
    """Draw only from the most probable tokens whose probabilities first reach this sum."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are already in the prompt or the text become less likely."""
    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not part of it."""
    seed: int = 0
    """Equal seeds give equal texts."""

    def __post_init__(self) -> None:
        def require(name: str, holds: bool, expected: str) -> None:
            if not holds:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}", expected, code="generate.out_of_range"
                )

        require("max_new_tokens", self.max_new_tokens >= 1, "a whole number from 1 up")
        require("temperature", 0 <= self.temperature < math.inf, "a number from 0 (greedy) up")
        require("top_k", self.top_k >= 0, "a whole number from 0 (no limit) up")
        require("top_p", 0 < self.top_p <= 1, "a number above 0, at most 1 (no limit)")
        require("repetition_penalty", 0 < self.repetition_penalty < math.inf, "a number above 0 (1: none)")
        is_strings = isinstance(self.stop, tuple) and all(isinstance(s, str) and s for s in self.stop)
        require("stop", is_strings, "a tuple of strings, none of them empty")


def stream_key(seed: int, request_id: int) -> int:
    """The 64-bit name of one request's stream of random numbers; any integers will do."""
    return finalize((splitmix64(seed & _MASK) + request_id * GOLDEN) & _MASK)


def uniforms(
    keys_R: Sequence[int] | npt.NDArray[np.uint64], positions_R: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Random numbers in [0, 1): number `position` of each key's stream, float64 (R,).

    Counter based (see `neogpt/data/splitmix.py`), so number n of a stream needs none of the others, and a text does
    not depend on who shares its batch.
    """
    state = np.asarray(keys_R, dtype=np.uint64)
    state = state + (np.asarray(positions_R).astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
    state = finalize_each(state)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
