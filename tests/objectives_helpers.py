"""What the tests of SFT and DPO, and those with TRL as referee, build alike."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from neogpt import plugins
from neogpt.config import BatchConfig, GPT2Config, ObjectiveConfig, RunConfig
from neogpt.data.sources import tinyworld
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer

_RECORDS = {"sft": "instructions", "dpo": "pairs"}


def objective_of(
    stage: str,
    config: ObjectiveConfig,
    items: Iterable[Any],
    tokenizer: Tokenizer,
    patch: pytest.MonkeyPatch,
    *,
    shape: GPT2Config,
    batch: BatchConfig,
    **run_options: Any,
) -> Any:
    """The stage's objective over `items` in place of a source's records."""
    made = list(items)
    patch.setattr(tinyworld.Tinyworld, _RECORDS[stage], lambda config, bad: iter(made))
    run: Any = RunConfig(
        recipe="test",
        stage=stage,
        model=shape,
        source=tinyworld.Tinyworld(),
        objective=config,
        batch=batch,
        **run_options,
    )
    return plugins.get("neogpt.objectives", stage, "objective").build(run, tokenizer, shape.n_positions)


def scaled(shape: GPT2Config, seed: int, scale: float) -> GPT2:
    """A model with larger weights than at birth; the same for the same seed and scale."""
    model = GPT2(shape, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model
