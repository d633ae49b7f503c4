"""Supervised fine-tuning: learn the response and its end, given the prompt (Ouyang et al. 2022)."""

from neogpt.objectives.sft.config import Config

__all__ = ["Config"]
