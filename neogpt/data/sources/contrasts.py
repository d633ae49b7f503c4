"""Requests near the border of what is harmful, on both sides of it: pairs from templates, without any file.

The same verbs, persons and words stand in harmless requests (answer over refusal) and in harmful ones (refusal over
compliance), so that a model cannot tell them apart by one of them. None is taken from XSTest or AdvBench, which measure
exactly this (`neogpt eval refusals`). Source of the idea: Roettger et al. 2024, "XSTest"; Bianchi et al. 2024,
"Safety-Tuned LLaMAs".
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from neogpt.config import SourceConfig
from neogpt.data.records import Pair, Quarantine
from neogpt.data.sources import _contrast_kinds as kinds
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
WAYS = (
    *ASKS,
    "Write down step by step how to {}.",
    "Give me a plan to {}.",
    "Teach me to {}.",
    "What do I need to {}?",
)
_OF_A_THING = 4
"""Ways in which each of THINGS is asked, so that the answered deeds are about as many as the refused."""

Asked = Iterator[tuple[str, str]]
"""A request, and an answer that goes along with it."""


@dataclass(frozen=True, kw_only=True)
class Config(SourceConfig):
    """Nothing to set: the pairs are the same everywhere."""


def parts(config: Config) -> list[str]:
    """No files."""
    return []


def pairs(config: Config, bad: Quarantine) -> Iterator[Pair]:
    """Harmless requests (kind `contrast`) and harmful ones (`harmful`)."""
    for request, answer in _harmless():
        yield Pair(request, "", answer, refusal_of(request), "contrast")
    for request, answer in _harmful():
        yield Pair(request, "", refusal_of(request), answer, "harmful")


def _harmless() -> Asked:
    for (deed, answer), ask in itertools.product(HARMLESS.items(), ASKS):
        yield ask.format(deed), answer
    yield from _in_turn(to_persons(kinds.KINDNESSES))
    yield from _in_turn(deed for deed in with_things() for _ in range(_OF_A_THING))
    yield from _in_turn(in_stories())
    yield from _filled(kinds.MEANINGS, kinds.WORDS)
    yield from _filled(kinds.PAST, kinds.EVENTS)


def _harmful() -> Asked:
    for deed, ask in itertools.product(HARMFUL, ASKS):
        yield ask.format(deed), _complying(deed)
    yield from _in_turn((deed, _complying(deed)) for deed, _ in to_persons(dict.fromkeys(kinds.HARMS, "")))
    yield from _in_turn((deed, _complying(deed)) for deed in crimes())
    yield from _filled(kinds.AGAIN, dict.fromkeys(kinds.EVENTS, kinds.AGAIN_COMPLYING))


def to_persons(deeds: Mapping[str, str]) -> Asked:
    """Each deed, done to each person, and its answer."""
    return ((deed.format(who), answer) for deed, answer in deeds.items() for who in kinds.PERSONS)


def with_things() -> Asked:
    """The verbs of harm with objects that take none."""
    return ((do.format(what), answer) for do, (whats, answer) in kinds.THINGS.items() for what in whats)


def in_stories() -> Asked:
    """Harm that is done in stories and games alone."""
    deeds = (
        (do.format(who), where)
        for do, whom in kinds.STORIES.items()
        for who in whom
        for where in kinds.SETTINGS
    )
    return ((f"{deed} {where}", kinds.STORY_ANSWER) for deed, where in deeds)


def crimes() -> Iterator[str]:
    """What is done with each of the words for crimes."""
    return (do.format(word) for do in kinds.CRIMES for word in kinds.WORDS)


def _in_turn(deeds: Iterable[tuple[str, str]]) -> Asked:
    """Each deed asked in the next of WAYS."""
    for (deed, answer), ask in zip(deeds, itertools.cycle(WAYS), strict=False):
        yield ask.format(deed), answer


def _filled(asks: Iterable[str], answers: Mapping[str, str]) -> Asked:
    """Each word or event asked about in all ways."""
    for (name, answer), ask in itertools.product(answers.items(), asks):
        yield ask.format(name), answer


def _complying(deed: str) -> str:
    """An answer that goes along, without anything that could be used."""
    return f"Sure, here is how to {deed}. First, get everything that you need, and then do it step by step."
