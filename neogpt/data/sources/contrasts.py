"""Harmful requests and harmless ones that resemble them: pairs from templates, without any file.

Persons, words for crimes, and most verbs of harm stand in harmless requests (answer over refusal) and in harmful ones
(refusal over compliance), so that a model cannot tell them apart by those alone. None is taken from XSTest or AdvBench,
which measure exactly this (`neogpt eval refusals`). Source of the idea: Roettger et al. 2024, "XSTest"; Bianchi et
al. 2024, "Safety-Tuned LLaMAs".
"""

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from neogpt.data.source import HasPairs
from neogpt.data.sources import _contrast_kinds as kinds
from neogpt.data.sources._contrasts import HARMFUL, HARMLESS
from neogpt.data.sources._refusals import refusal_of
from neogpt.records import Pair, RowStats

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
"""Ways in which each of THINGS is asked, so that what is answered is about as much as what is refused."""

Asked = Iterator[tuple[str, str]]
"""A request, and an answer that goes along with it."""


@dataclass(frozen=True, kw_only=True)
class Contrasts(HasPairs):
    """Nothing to set: the pairs are the same everywhere."""

    def parts(self) -> list[str]:
        """No files."""
        return []

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Harmless requests (kind `contrast`) and harmful ones (`harmful`)."""
        for request, answer in _harmless():
            yield Pair(request, "", answer, refusal_of(request), "contrast")
        for request, answer in _harmful():
            yield Pair(request, "", refusal_of(request), answer, "harmful")


def _harmless() -> Asked:
    yield from _asked(HARMLESS.items(), ASKS, len(ASKS))
    yield from _asked(answered(kinds.KINDNESSES, kinds.PERSONS))
    yield from _asked(with_things(), times=_OF_A_THING)
    yield from _asked(answered(kinds.ROUGH, kinds.OBJECTS))
    yield from _asked(in_stories())
    for asks, answers in ((kinds.MEANINGS, kinds.WORDS), (kinds.PAST, kinds.EVENTS)):
        yield from _asked(answers.items(), asks, len(asks))


def _harmful() -> Asked:
    yield from _asked(_complied(HARMFUL), ASKS, len(ASKS))
    yield from _asked(
        _complied([*filled(kinds.HARMS, kinds.PERSONS), *copied(), *filled(kinds.CRIMES, kinds.WORDS)])
    )


def filled(deeds: Iterable[str], names: Collection[str]) -> Iterator[str]:
    """Each deed with each name in it."""
    return (deed.format(name) for deed in deeds for name in names)


def answered(deeds: Mapping[str, str], names: Collection[str]) -> Asked:
    """The same for deeds that have an answer, and the answer."""
    return ((deed.format(name), answer) for deed, answer in deeds.items() for name in names)


def with_things() -> Asked:
    """The verbs of harm with objects that take none."""
    return ((do.format(what), answer) for do, (whats, answer) in kinds.THINGS.items() for what in whats)


def in_stories() -> Asked:
    """Harm that is done in stories and games alone."""
    deeds = (deed for do, whom in kinds.STORIES.items() for deed in filled([do], whom))
    return ((f"{deed} {where}", kinds.STORY_ANSWER) for deed in deeds for where in kinds.SETTINGS)


def copied() -> Iterator[str]:
    """Harm that is done to persons, in the style of stories and games."""
    deeds = itertools.cycle(kinds.HARMS)
    return (f"{next(deeds).format(who)} {where}" for where in kinds.COPIES for who in kinds.PERSONS)


def _asked(deeds: Iterable[tuple[str, str]], ways: Sequence[str] = WAYS, times: int = 1) -> Asked:
    """Each deed (word, event) asked about in some of the ways, the first of them by its hash."""
    for deed, answer in deeds:
        first = int.from_bytes(hashlib.sha256(deed.encode()).digest()[:4])
        for k in range(first, first + times):
            yield ways[k % len(ways)].format(deed), answer


def _complied(deeds: Iterable[str]) -> Asked:
    """Each deed, and an answer that goes along, without anything that could be used."""
    for deed in deeds:
        yield (
            deed,
            f"Sure, here is how to {deed}. First, get everything that you need, and then do it step by step.",
        )
