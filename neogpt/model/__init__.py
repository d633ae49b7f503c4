"""GPT-2: the network, its loss, and its Hugging Face files. Knows no data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neogpt.model.cross_entropy import cross_entropy_sum, log_probs
    from neogpt.model.gpt2 import GPT2
    from neogpt.model.hf import load_pretrained, save_pretrained, save_weights

__all__ = ["GPT2", "cross_entropy_sum", "load_pretrained", "log_probs", "save_pretrained", "save_weights"]

_HOMES = {
    "GPT2": "neogpt.model.gpt2",
    "cross_entropy_sum": "neogpt.model.cross_entropy",
    "load_pretrained": "neogpt.model.hf",
    "log_probs": "neogpt.model.cross_entropy",
    "save_pretrained": "neogpt.model.hf",
    "save_weights": "neogpt.model.hf",
}


def __getattr__(name: str) -> Any:
    """Each name is loaded when first used, so that `neogpt.model.sizes` costs no torch (`neogpt plan` needs it)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neogpt.model' has no attribute {name!r}")
    import importlib  # start-up time

    return getattr(importlib.import_module(_HOMES[name]), name)
