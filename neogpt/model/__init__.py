"""GPT-2: the network, its loss, its key-value cache, and its Hugging Face files. Knows no data."""

from neogpt.model.cache import KVCache
from neogpt.model.cross_entropy import cross_entropy_sum, log_probs
from neogpt.model.gpt2 import GPT2
from neogpt.model.hf import load_pretrained, save_pretrained, save_weights

__all__ = [
    "GPT2",
    "KVCache",
    "cross_entropy_sum",
    "load_pretrained",
    "log_probs",
    "save_pretrained",
    "save_weights",
]
