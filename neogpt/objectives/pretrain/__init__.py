"""Next-token prediction on a stream of documents (Radford et al. 2019)."""

from neogpt.objectives.pretrain.config import Config

__all__ = ["Config"]
