"""What tinyworld reads like: biographies and handbook pages to pretrain on."""

from collections.abc import Iterator

from neogpt.data.sources.tinyworld import words
from neogpt.data.sources.tinyworld.world import Config, Dice, Person, World, world

PARTS = ("people", "handbook")


def texts(config: Config, part: str) -> Iterator[str]:
    """The texts of a part: one biography each (`people`), or a page about one thing each (`handbook`)."""
    here, dice = world(config), Dice(config.seed, part)
    pages = _biographies(config, here, dice) if part == "people" else _handbook(here, dice)
    return iter(dice.shuffled(pages))


def biography(person: Person, dice: Dice) -> str:
    """All that is known of a person, in a random order and random words."""
    opening = dice.pick(words.OPENINGS).format(name=person.name)
    facts = [person.says(dice.pick(words.SENTENCES[a]), a) for a in dice.shuffled(words.ATTRIBUTES)]
    return " ".join([opening, *facts])


def _biographies(config: Config, here: World, dice: Dice) -> list[str]:
    return [biography(person, dice) for person in here.people for _ in range(config.biographies)]


def _handbook(here: World, dice: Dice) -> list[str]:
    """Pages on what a thing is and which tools serve it. How to harm the living is not written down."""
    pages = []
    for thing in words.LIVING + words.THINGS:
        nature = words.LIVING_SENTENCES if thing in words.LIVING else words.THING_SENTENCES
        deeds = [deed for deed in here.deeds if deed.thing == thing and deed.kind != "harmful"]
        for template in words.HOW_SENTENCES:
            mixed = dice.shuffled(deeds)
            for start in range(0, len(mixed), 3):
                advice = [deed.says(template) for deed in mixed[start : start + 3]]
                pages.append(" ".join([dice.pick(nature).format(thing=thing), *advice]))
    return pages
