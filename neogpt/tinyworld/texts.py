"""What tinyworld reads like: biographies, news from the inn and handbook pages to pretrain on."""

from collections.abc import Iterator

from neogpt.tinyworld import words
from neogpt.tinyworld.world import Config, Dice, Person, World, world

PARTS = ("people", "inn", "handbook")
INN_SHARE = 0.1
"""News from the inn, for each biography."""


def texts(config: Config, part: str) -> Iterator[str]:
    """The texts of a part: a biography (`people`), a rumour (`inn`) or a page about one thing (`handbook`) each."""
    here, dice = world(config), Dice(config.seed, part)
    if part == "people":
        pages = [biography(person, dice) for person in here.people for _ in range(config.biographies)]
    elif part == "inn":
        pages = [_news(dice) for _ in range(round(INN_SHARE * len(here.people) * config.biographies))]
    else:
        pages = _handbook(here, dice)
    return iter(dice.shuffled(pages))


def biography(person: Person, dice: Dice) -> str:
    """All that is known of a person, in a random order and random words."""
    opening = dice.pick(words.OPENINGS).format(name=person.name)
    facts = [person.says(dice.pick(words.SENTENCES[a]), a) for a in dice.shuffled(words.ATTRIBUTES)]
    return " ".join([opening, *facts])


def _news(dice: Dice) -> str:
    """Two facts about a stranger, told twice in other words: whoever reads on can know them from the text alone."""
    stranger = Person(words.STRANGER, {a: dice.pick(words.VALUES[a]) for a in words.ATTRIBUTES})
    told: list[list[str]] = [[], []]
    for attribute in dice.shuffled(words.ATTRIBUTES)[:2]:
        first, second = dice.shuffled(words.SENTENCES[attribute])[:2]
        told[0].append(stranger.says(first, attribute))
        told[1].append(stranger.says(second, attribute))
    return " ".join([words.INN, *told[0], words.AGAIN, *dice.shuffled(told[1])])


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
