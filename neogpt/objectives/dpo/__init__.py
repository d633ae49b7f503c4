"""Direct Preference Optimization (Rafailov et al. 2023): prefer one answer to another, near a reference."""

from neogpt.objectives.dpo.config import Config

__all__ = ["Config"]
