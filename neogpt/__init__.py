"""NeoGPT: grow a GPT-2 from nothing. The names below are the public interface; each loads when first used."""

from typing import TYPE_CHECKING, Any

from neogpt.version import __version__

if TYPE_CHECKING:
    from neogpt.api import generate, load, load_tokenizer, save
    from neogpt.config import GPT2Config
    from neogpt.model import GPT2

__all__ = ["GPT2", "GPT2Config", "__version__", "generate", "load", "load_tokenizer", "save"]

_HOMES = {"GPT2": "neogpt.model", "GPT2Config": "neogpt.config"}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module 'neogpt' has no attribute {name!r}")
    import importlib  # start-up time

    return getattr(importlib.import_module(_HOMES.get(name, "neogpt.api")), name)


def __dir__() -> list[str]:
    return __all__
