"""The settings of reinforcement learning; no torch here, as the command line reads them first."""

import math
from dataclasses import dataclass
from typing import Literal

from neogpt.config import ObjectiveConfig
from neogpt.errors import ConfigError

LossType = Literal["dapo", "grpo", "dr_grpo"]


@dataclass(frozen=True, kw_only=True)
class Config(ObjectiveConfig):
    """Options of reinforcement learning. `batch.size` counts prompts."""

    num_generations: int = 8
    """Answers to each prompt."""
    max_completion_length: int = 128
    """Longest answer."""
    rewards: tuple[str, ...] = (
        "finished:0.25",
        "length:0.25",
        "repetition:0.25",
        "format:0.5",
        "coherence:0.5",
        "relevance:0.5",
    )
    """Rewards and their weights in the sum, NAME:WEIGHT (`neogpt list rewards`)."""
    coherence_model: str = ""
    """Directory of the frozen model that coherence and relevance ask, such as the pretrained one; empty: the start."""
    loss_type: LossType = "dapo"
    """What a token counts. dapo: each as much; grpo: each answer as much; dr_grpo: by a constant length."""
    scale_rewards: bool = True
    """Divide advantages by the standard deviation of their group (Dr. GRPO does not)."""
    epsilon: float = 0.2
    """Lower clip: a token's probability may fall by this share in one rollout's updates."""
    epsilon_high: float = 0.28
    """Upper clip: it may rise by this share."""
    beta: float = 0.04
    """Weight of the distance (KL) to the starting model; 0: measured at evaluations only, which is faster."""
    updates_per_rollout: int = 1
    """Updates made from the same answers."""
    dynamic_sampling: int = 0
    """How often groups whose answers all score alike are replaced by answers to other prompts (DAPO)."""
    mask_truncated_completions: bool = False
    """Learn nothing from answers that were cut off."""
    sft_coef: float = 0.1
    """Weight of the SFT mix-in: -log p per token of good answers to other requests; 0: none."""
    sft_rows: int = 16
    """Answers of the SFT mix-in a step."""
    val_fraction: float = 0.05
    """Share of prompts held out, chosen by a hash of their text."""

    def __post_init__(self) -> None:
        lowest = {
            "num_generations": 2,
            "max_completion_length": 1,
            "updates_per_rollout": 1,
            "dynamic_sampling": 0,
        }
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    f"a whole number from {least} up",
                    code="config.out_of_range",
                )
        for name in ("epsilon", "epsilon_high", "beta", "sft_coef"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}", "a number from 0 up", code="config.out_of_range"
                )
