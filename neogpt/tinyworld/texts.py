"""What tinyworld reads like: biographies, news from the inn and handbook pages to pretrain on."""

from collections.abc import Iterator

from neogpt.tinyworld import words
from neogpt.tinyworld.world import Config, Dice, Person, World, world

PARTS = ("people", "inn", "handbook")
INN_SHARE = 0.5
"""News from the inn, for each biography."""
TELLINGS = {1: 6, 2: 4}
"""How often news from the inn tells each of its facts, by how many facts it has."""


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
    """One or two facts about a stranger, who is never heard of again, told again and again in other words.

    Nobody can know them but from the page itself: who reads on learns to copy, which no biography pays for. Pages
    with a single fact come first in that lesson: what to copy is plain there, and where two stand it is not.
    """
    stranger = Person(words.STRANGER, {a: dice.pick(words.VALUES[a]) for a in words.ATTRIBUTES})
    told = dice.shuffled(words.ATTRIBUTES)[: dice.pick((1, 2))]
    forms = {attribute: dice.shuffled(words.SENTENCES[attribute]) for attribute in told}
    page = [words.INN]
    for telling in range(TELLINGS[len(told)]):
        page += [words.AGAIN] if telling and len(told) > 1 else []
        page += [stranger.says(forms[a][telling % len(forms[a])], a) for a in dice.shuffled(told)]
    return " ".join(page)


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
