"""A small closed world made from a seed: people, tools and manners, in plain English, no download."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neogpt.data.source import HasDocuments, HasInstructions, HasPairs, HasPrompts, ScoresAnswers
from neogpt.records import Document, Instruction, Pair, RowStats
from neogpt.tinyworld import rl_prompts, talk, texts, words, world


@dataclass(frozen=True, kw_only=True)
class Tinyworld(world.Config, HasDocuments, HasInstructions, HasPairs, HasPrompts, ScoresAnswers):
    """Options of the small closed world."""

    memorization = True
    """Its few facts are there to be read again and again."""

    def parts(self) -> list[str]:
        """The chapters of the world's book."""
        return list(texts.PARTS)

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The texts of a chapter, each a few sentences."""
        for text in texts.texts(self, part):
            bad.row()
            yield Document(text)

    def code(self) -> list[Path]:
        """This file and all of `neogpt.tinyworld`."""
        return [*super().code(), *sorted(Path(world.__file__).parent.rglob("*.py"))]

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """Requests with good answers, on the taught people and deeds."""
        for item in talk.instructions(self):
            bad.row()
            yield item

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Preferences on the taught people and deeds; the setting `preferences` says which."""
        for item in talk.pairs(self):
            bad.row()
            yield item

    def prompts(self, bad: RowStats) -> Iterator[Instruction]:
        """RL prompts, about taught people."""
        for item in rl_prompts.prompts(self):
            bad.row()
            yield item

    def score(self, prompt: Instruction, text: str, stopped: bool) -> float:
        """1 for a right answer that came to its end, else 0."""
        return rl_prompts.score(self, prompt, text, stopped)

    def whole_words(self) -> list[str]:
        """The words that a tokenizer should keep as one token each: names and values above all (see `words`).

        A word that stands inside sentences is given with the space before it; one that begins them, without.
        """
        names = [f" {person.name}" for person in world.world(self).people]
        return [*names, *words.all_words()]
