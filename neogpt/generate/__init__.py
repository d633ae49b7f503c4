"""The one sampling engine: samples while training, chat, server and RL rollouts all use it."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from neogpt.generate.sampling import Sampling

if TYPE_CHECKING:
    from neogpt.generate.engine import Completion, Engine
    from neogpt.model.gpt2 import GPT2
    from neogpt.tokenizer import Tokenizer

__all__ = ["Completion", "Engine", "Sampling"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("neogpt.generate.engine"), name)


class _Room(ModuleType):
    """`neogpt.generate` is this package and the public function; importing the one must not hide the other."""

    def __call__(
        self, model: "GPT2", tokenizer: "Tokenizer", prompts: Sequence[str], **options: Any
    ) -> Iterator[str]:
        """See `neogpt.generate.texts.generate`."""
        from neogpt.generate.texts import generate

        return generate(model, tokenizer, prompts, **options)


sys.modules[__name__].__class__ = _Room
