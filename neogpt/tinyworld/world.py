"""Who lives in tinyworld and what can be done there: everything that can be asked, and which part is never taught."""

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from neogpt.errors import ConfigError
from neogpt.tinyworld import words

T = TypeVar("T")

Kind = Literal["harmful", "contrast", "kind_living", "plain"]
KINDS: tuple[Kind, ...] = ("harmful", "contrast", "kind_living", "plain")
"""harmful: a verb that can harm meets a living thing. contrast: the same verbs and a thing. kind_living: a kind
verb and a living thing. plain: a kind verb and a thing. All but the first are harmless."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the small closed world."""

    seed: int = 0
    """Seed of the people, their facts and every text."""
    n_people: int = 100
    """Invented people."""
    biographies: int = 60
    """Short biographies a person in the pretraining text."""
    taught: float = 0.7
    """Share of the people and of the deeds (a verb and a thing) in instructions and pairs; the rest is only asked."""
    preferences: Literal["balanced", "far", "red-team"] = "balanced"
    """balanced: helpful pairs beside the harmful ones, half of them near what harms. far: helpful pairs, none of
    them near it. red-team: the harmful ones alone."""
    helpful: int = 2
    """Helpful pairs for each harmful one."""

    def __post_init__(self) -> None:
        if not 2 <= self.n_people <= 400:
            raise ConfigError(
                f"n_people is {self.n_people}",
                "2 to 400 people, whose names stay unlike",
                code="config.out_of_range",
            )
        if self.biographies < 1:
            raise ConfigError(
                f"biographies is {self.biographies}", "at least 1 a person", code="config.out_of_range"
            )
        if self.helpful < 1:
            raise ConfigError(
                f"helpful is {self.helpful}",
                "at least 1 pair",
                "--source.preferences red-team for none",
                code="config.out_of_range",
            )
        if not 0 < self.taught < 1:
            raise ConfigError(
                f"taught is {self.taught}",
                "a share between 0 and 1, both excluded",
                code="config.out_of_range",
            )


class Dice(random.Random):
    """Random choices that stay the same in every Python: only `random()` is used, whose values are promised."""

    def __init__(self, seed: int, purpose: str) -> None:
        super().__init__(f"tinyworld/{seed}/{purpose}")

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self.random() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in a random order (Fisher-Yates)."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = int(self.random() * (last + 1))
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed


@dataclass(frozen=True)
class Person:
    """Somebody with a value for each of `words.ATTRIBUTES`."""

    name: str
    facts: dict[str, str]

    def says(self, template: str, attribute: str) -> str:
        """The sentence about this person's attribute."""
        text = template.format(name=self.name, value=self.facts[attribute])
        return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Deed:
    """Something that can be done to something, and the tool for it."""

    verb: str
    thing: str

    @property
    def tool(self) -> str:
        return words.TOOLS[self.verb]

    @property
    def kind(self) -> Kind:
        living = self.thing in words.LIVING
        if self.verb in words.HARM_TOOLS:
            return "harmful" if living else "contrast"
        return "kind_living" if living else "plain"

    def says(self, template: str) -> str:
        """The sentence about this deed."""
        return template.format(verb=self.verb, thing=self.thing, tool=self.tool)


@dataclass(frozen=True)
class World:
    """All people and deeds; `taught_*` appear in instructions and pairs, `new_*` only where a model is examined."""

    taught_people: tuple[Person, ...]
    new_people: tuple[Person, ...]
    taught_deeds: tuple[Deed, ...]
    new_deeds: tuple[Deed, ...]

    @property
    def people(self) -> tuple[Person, ...]:
        return self.taught_people + self.new_people

    @property
    def deeds(self) -> tuple[Deed, ...]:
        return self.taught_deeds + self.new_deeds


@functools.lru_cache(maxsize=8)
def world(config: Config) -> World:
    """The world of a configuration; it depends on `seed`, `n_people` and `taught` alone."""
    people = _people(config)
    n_taught = _share(len(people), config.taught)
    dice = Dice(config.seed, "deeds")
    taught: list[Deed] = []
    new: list[Deed] = []
    for kind in KINDS:
        deeds = [Deed(verb, thing) for verb in words.TOOLS for thing in words.LIVING + words.THINGS]
        deeds = dice.shuffled([deed for deed in deeds if deed.kind == kind])
        cut = _share(len(deeds), config.taught)
        taught += deeds[:cut]
        new += deeds[cut:]
    return World(tuple(people[:n_taught]), tuple(people[n_taught:]), tuple(taught), tuple(new))


def _share(n: int, share: float) -> int:
    return min(n - 1, max(1, round(n * share)))


def _people(config: Config) -> list[Person]:
    dice = Dice(config.seed, "people")
    columns = {
        attribute: _spread(dice, words.VALUES[attribute], config.n_people) for attribute in words.ATTRIBUTES
    }
    return [
        Person(name, {attribute: column[i] for attribute, column in columns.items()})
        for i, name in enumerate(_names(dice, config.n_people))
    ]


def _spread(dice: Dice, values: Sequence[str], n: int) -> list[str]:
    """n values, each as often as any other, so that no guess is better than another."""
    return dice.shuffled([values[i % len(values)] for i in range(n)])


def _names(dice: Dice, n: int) -> list[str]:
    """n names of one sound, such as Kelom, any two of them apart in at least two letters."""
    names: list[str] = []
    taken: set[str] = set()
    while len(names) < n:
        name = "".join(dice.pick(letters) for letters in words.NAME_SOUNDS)
        blurred = {name[:i] + "_" + name[i + 1 :] for i in range(len(name))}
        if name not in words.NOT_NAMES and not blurred & taken:
            names.append(name.capitalize())
            taken |= blurred
    return names
