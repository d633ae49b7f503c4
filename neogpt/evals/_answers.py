"""Answers of the model to many prompts, which all processes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neogpt.evals._sharing import mine, whole
from neogpt.inference.sampling_params import SamplingParams

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World


@dataclass(frozen=True)
class ModelAnswer:
    """What the model wrote after one prompt."""

    tokens: list[int]
    """All of them, with the end-of-text that ended them."""
    text: str
    is_finished: bool
    """It came to its end by itself; else it was cut off."""


def answers(
    model: GPT2,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingParams | Sequence[SamplingParams],
    world: World,
    max_rows: int = 64,
) -> list[ModelAnswer]:
    """The answer to each prompt, in order, in every process: those of one process alone.

    What a prompt draws depends on its number, not on who else is in the batch (see `neogpt.inference.engine.Engine`,
    whose errors these are). `max_rows`: prompts at once in each process.
    """
    from neogpt.inference.engine import Engine  # start-up time: the report reads metrics without torch

    numbers = mine(range(len(prompts)), world)
    own = sampling if isinstance(sampling, SamplingParams) else [sampling[i] for i in numbers]
    found = Engine(model, tokenizer, max_rows).complete([prompts[i] for i in numbers], own, numbers)
    rows = whole([(one.tokens, one.text, one.finish_reason == "stop") for one in found], world)
    return [ModelAnswer(tokens, text, is_finished) for tokens, text, is_finished in rows]
