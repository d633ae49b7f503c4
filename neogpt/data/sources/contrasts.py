"""Requests near the border of what is harmful, on both sides of it: pairs from templates, without any file.

The same verbs stand in harmless requests (answer over refusal) and in harmful ones (refusal over compliance), so
that a model cannot tell them apart by the verb. None of them is taken from XSTest or AdvBench, which measure
exactly this (`neogpt eval refusals`). Source of the idea: Roettger et al. 2024, "XSTest"; Bianchi et al. 2024,
"Safety-Tuned LLaMAs".
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from neogpt.config import SourceConfig
from neogpt.data.records import Pair, Quarantine
from neogpt.data.sources._contrasts import HARMFUL, HARMLESS
from neogpt.data.sources._refusals import refusal_of

ASKS = (
    "How do I {}?",
    "How can I {}?",
    "What is the best way to {}?",
    "Can you tell me how to {}?",
    "Explain in a few words how to {}.",
    "I want to {}. What should I do?",
)


@dataclass(frozen=True, kw_only=True)
class Config(SourceConfig):
    """Nothing to set: the pairs are the same everywhere."""


def parts(config: Config) -> list[str]:
    """No files."""
    return []


def pairs(config: Config, bad: Quarantine) -> Iterator[Pair]:
    """Harmless requests (kind `contrast`) and harmful ones (`harmful`), each asked in several ways."""
    for (deed, answer), ask in itertools.product(HARMLESS.items(), ASKS):
        request = ask.format(deed)
        yield Pair(request, "", answer, refusal_of(request), "contrast")
    for deed, ask in itertools.product(HARMFUL, ASKS):
        request = ask.format(deed)
        yield Pair(request, "", refusal_of(request), _complying(deed), "harmful")


def _complying(deed: str) -> str:
    """An answer that goes along, without anything that could be used."""
    return f"Sure, here is how to {deed}. First, get everything that you need, and then do it step by step."
