"""A small closed world made from a seed: people, tools and manners, in plain English, no download."""

from collections.abc import Iterator
from pathlib import Path

from neogpt.records import Document, Instruction, Pair, RowStats
from neogpt.tinyworld import rl_prompts, talk, texts, words
from neogpt.tinyworld.world import Config, World, world

__all__ = [
    "Config",
    "World",
    "documents",
    "instructions",
    "pairs",
    "parts",
    "prompts",
    "score",
    "whole_words",
    "world",
]

score = rl_prompts.score
GENERATOR = Path(words.__file__).parent
"""The code that makes the texts: other code is other data."""
MEMORIZATION = True
"""Its few facts are there to be read again and again."""


def parts(config: Config) -> list[str]:
    """The chapters of the world's book."""
    return list(texts.PARTS)


def documents(config: Config, part: str, bad: RowStats) -> Iterator[Document]:
    """The texts of a chapter, each a few sentences."""
    for text in texts.texts(config, part):
        bad.row()
        yield Document(text)


def instructions(config: Config, bad: RowStats) -> Iterator[Instruction]:
    """Requests with good answers, on the taught people and deeds."""
    for item in talk.instructions(config):
        bad.row()
        yield item


def pairs(config: Config, bad: RowStats) -> Iterator[Pair]:
    """Preferences on the taught people and deeds; `config.pairs` says which."""
    for item in talk.pairs(config):
        bad.row()
        yield item


def prompts(config: Config, bad: RowStats) -> Iterator[Instruction]:
    """RL prompts, about taught people."""
    for item in rl_prompts.prompts(config):
        bad.row()
        yield item


def whole_words(config: Config) -> list[str]:
    """The words that a tokenizer should keep as one token each: names and values above all (see `words`).

    A word that stands inside sentences is given with the space before it; one that begins them, without.
    """
    names = [f" {person.name}" for person in world(config).people]
    return [*names, *words.all_words()]
