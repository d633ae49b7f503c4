"""Reinforcement learning: answer, be scored, and do more of what scored better (GRPO, Shao et al. 2024)."""

from neogpt.objectives.rl.config import Config

__all__ = ["Config"]
