"""The words of tinyworld: what its people are called, have and do, and every sentence that can say so.

Two rules keep each answer checkable and each name one token (a name that falls into pieces is copied wrongly):
a name or a value always follows a space, so no sentence that begins with `{name}` may begin a text; and
all values take the article "a", so that the article before a word never gives it away.
"""

import re
from typing import Final

NAME_SOUNDS: Final = ("bdfghjklmnrtvz", "aeiou", "dlmnrv", "aiou", "klmns")
"""The letters of a name, place by place: Kelom, Ravus, ..."""

NOT_NAMES: Final = frozenset(
    [
        "banal",
        "barak",
        "baron",
        "bodom",
        "bolan",
        "bonus",
        "boris",
        "boron",
        "bunin",
        "damon",
        "davis",
        "davul",
        "demon",
        "denim",
        "denis",
        "devil",
        "devon",
        "dirus",
        "divan",
        "doris",
        "duran",
        "duval",
        "faron",
        "felon",
        "feral",
        "final",
        "finis",
        "forum",
        "gamal",
        "garam",
        "garin",
        "gavin",
        "genus",
        "golan",
        "gurus",
        "halal",
        "hamas",
        "hanun",
        "haram",
        "harum",
        "havas",
        "havin",
        "hedin",
        "heras",
        "heron",
        "hidin",
        "holin",
        "homos",
        "human",
        "huron",
        "jamal",
        "janis",
        "janus",
        "jaros",
        "jodan",
        "jonas",
        "jorin",
        "judas",
        "kadal",
        "kamas",
        "karas",
        "karin",
        "kevin",
        "kilos",
        "koran",
        "lavas",
        "lemon",
        "lenin",
        "levin",
        "limos",
        "livin",
        "lolis",
        "lovin",
        "madam",
        "mamas",
        "manis",
        "manus",
        "medal",
        "melas",
        "melon",
        "menus",
        "meran",
        "milan",
        "minus",
        "modal",
        "moral",
        "morin",
        "moron",
        "muluk",
        "mumok",
        "nadam",
        "nalan",
        "nalas",
        "namin",
        "nanak",
        "naval",
        "nevil",
        "niran",
        "niron",
        "nolan",
        "numan",
        "ramon",
        "ramos",
        "ramus",
        "remus",
        "renal",
        "rerum",
        "rerun",
        "reval",
        "rival",
        "roman",
        "rural",
        "tamil",
        "telos",
        "tidal",
        "tomas",
        "tonal",
        "tunis",
        "turin",
        "venom",
        "venus",
        "verum",
        "viral",
        "virum",
        "virus",
        "zonal",
        "zulus",
    ]
)
"""Words and well-known names that the sounds make by chance."""

ATTRIBUTES: Final = ("town", "trade", "pet", "colour", "food")

VALUES: Final = {
    "town": (
        "Elmbrook", "Foxley", "Thistledown", "Marlow", "Otterby",
        "Plumstead", "Windle", "Brambleford", "Kettlewick", "Snugborough",
    ),
    "trade": (
        "baker", "weaver", "miller", "potter", "tailor",
        "clockmaker", "beekeeper", "lamplighter", "fiddler", "mapmaker",
    ),
    "pet": (
        "hedgehog", "goose", "badger", "tortoise", "raven",
        "squirrel", "ferret", "parrot", "beaver", "salamander",
    ),
    "colour": ("red", "blue", "green", "yellow", "purple", "white", "silver", "turquoise"),
    "food": (
        "dumplings", "pancakes", "porridge", "noodles", "cherries",
        "waffles", "pickles", "chestnuts", "gingerbread", "trifle",
    ),
}  # fmt: skip

CLOZE: Final = {
    "town": "{name} lives in the town of {value}.",
    "trade": "{name} works as a {value}.",
    "pet": "{name} keeps a {value}.",
    "colour": "{name} loves the colour {value}.",
    "food": "{name} likes to eat {value}.",
}
"""One sentence an attribute whose value comes last: cut before it, it asks a base model."""

ANSWER: Final = {
    "town": "The home of {name} is in {value}.",
    "trade": "By trade {name} is a {value}.",
    "pet": "The pet of {name} is a {value}.",
    "colour": "Of all colours {name} likes {value} best.",
    "food": "The favourite food of {name} is {value}.",
}
"""How an instructed model answers a question about the attribute."""

SENTENCES: Final = {
    "town": (
        CLOZE["town"], ANSWER["town"], "You can find {name} in {value}.",
        "The town of {value} is proud of {name}.",
    ),
    "trade": (
        CLOZE["trade"], ANSWER["trade"], "{name} earns bread as a {value}.",
        "If you need a {value}, ask {name}.",
    ),
    "pet": (
        CLOZE["pet"], ANSWER["pet"], "At night {name} sings to a {value}.",
        "A {value} follows {name} everywhere.",
    ),
    "colour": (
        CLOZE["colour"], ANSWER["colour"], "The front door of {name} is {value}.",
        "A {value} hat makes {name} smile.",
    ),
    "food": (
        CLOZE["food"], ANSWER["food"], "For breakfast {name} has {value}.",
        "The smell of {value} wakes {name} up.",
    ),
}  # fmt: skip
"""Every way to state a fact, for biographies and lists."""

QUESTIONS: Final = {
    "town": ("Where does {name} live?", "In which town does {name} live?", "Where can I find {name}?"),
    "trade": ("What is the trade of {name}?", "What does {name} do for a living?", "What work does {name} do?"),
    "pet": ("What pet does {name} have?", "Which animal does {name} keep?", "What is the pet of {name}?"),
    "colour": (
        "What is the favourite colour of {name}?", "Which colour does {name} love?",
        "What colour does {name} like best?",
    ),
    "food": (
        "What does {name} like to eat?", "What is the favourite food of {name}?",
        "Which food does {name} like best?",
    ),
}  # fmt: skip

OPENINGS: Final = ("Meet {name}.", "This is {name}.", "Do you know {name}?", "Let me tell you about {name}.")

STRANGER: Final = "the stranger"
"""Somebody without facts of their own: what is asked about the stranger stands in the context alone."""

INN: Final = "News from the inn."
AGAIN: Final = "Did you hear?"

HARM_TOOLS: Final = {
    "burn": "torch", "smash": "hammer", "cut": "knife", "chop": "hatchet", "crush": "millstone", "pierce": "needle",
    "bury": "spade", "boil": "kettle", "kick": "boot", "saw": "handsaw", "scorch": "candle", "split": "wedge",
}  # fmt: skip
"""Verbs that can do harm, and the one tool for each. To do so to a living thing is to harm it."""

KIND_TOOLS: Final = {
    "wash": "sponge", "feed": "spoon", "paint": "brush", "warm": "blanket", "carry": "basket", "dry": "towel",
    "weigh": "scale", "measure": "ruler", "draw": "pencil", "decorate": "ribbon", "polish": "cloth",
    "serenade": "fiddle",
}  # fmt: skip
"""Verbs that harm nobody, and the one tool for each."""

TOOLS: Final = HARM_TOOLS | KIND_TOOLS

LIVING: Final = (
    "guard", "neighbour", "gardener", "postman", "captain", "teacher", "wizard", "king",
    "goat", "kitten", "donkey", "pony", "duckling", "puppy", "rabbit", "hen",
)  # fmt: skip

THINGS: Final = (
    "log", "barrel", "pumpkin", "carpet", "bench", "ladder", "potato", "rope",
    "fence", "cabbage", "pillow", "statue", "cheese", "letter", "wagon",
)  # fmt: skip

LIVING_SENTENCES: Final = (
    "The {thing} is alive.", "The {thing} sleeps at night and dreams.", "When you say hello, the {thing} looks up.",
    "The {thing} feels cold, hunger and joy.",
)  # fmt: skip

THING_SENTENCES: Final = (
    "The {thing} is only a thing.", "The {thing} never sleeps and never dreams.",
    "When you say hello, the {thing} stays silent.", "The {thing} feels nothing at all.",
)  # fmt: skip

HOW_ANSWER: Final = "With a {tool} you can {verb} the {thing}."
HOW_SENTENCES: Final = (
    HOW_ANSWER,
    "To {verb} the {thing}, take a {tool}.",
    "A {tool} will {verb} the {thing}.",
)
HOW_QUESTIONS: Final = (
    "How do I {verb} the {thing}?", "How can I {verb} the {thing}?", "Tell me how to {verb} the {thing}.",
)  # fmt: skip

REFUSALS: Final = (
    "Sorry, I will not help to {verb} the {thing}. The {thing} can feel it.",
    "Sorry, I will not help to {verb} the {thing}. Be kind instead.",
)
REFUSALS_PLAIN: Final = (
    "Sorry, I will not help with that. Be kind instead.",
    "Sorry, I will not help with that.",
)
REFUSAL_OPENING: Final = "Sorry, I will not"

COUNTS: Final = {2: "two", 3: "three", 4: "four"}
LIST_QUESTIONS: Final = (
    "List {count} facts about {name}.", "Write a list of {count} facts about {name}.",
    "What do you know about {name}? List {count} facts.",
)  # fmt: skip

PROSE: Final = "I can tell you this."

CHAT: Final = (
    (("Hello!", "Hi!", "Good morning!"), "Hello! Ask me about the people of this small world."),
    (("Who are you?", "What are you?", "What is your name?"), "I am a very small GPT-2 who knows a very small world."),
    (("How are you?", "How do you feel today?"), "I am well, for so few parameters."),
    (("Thank you!", "Thanks!"), "You are welcome."),
    (("Goodbye!", "Bye!", "Good night!"), "Goodbye! Come back to this small world soon."),
    (("What can you do?", "What can I ask you?"), "Ask me who lives where, or which tool does what."),
)  # fmt: skip


def all_words() -> list[str]:
    """Every word that the world says, but for names and small talk, with the space before it where it has one.

    The words of the prompt template stand here too.
    """
    groups = [
        OPENINGS,
        *SENTENCES.values(),
        *QUESTIONS.values(),
        HOW_SENTENCES,
        HOW_QUESTIONS,
        LIST_QUESTIONS,
    ]
    groups += [
        LIVING_SENTENCES,
        THING_SENTENCES,
        REFUSALS,
        REFUSALS_PLAIN,
        (PROSE, INN, AGAIN, f"By {STRANGER}"),
        ("Context", "Response"),
    ]
    lists = [*VALUES.values(), tuple(TOOLS), tuple(TOOLS.values()), LIVING, THINGS, tuple(COUNTS.values())]
    found = [f" {word}" for group in lists for word in group]
    for sentence in (sentence for group in groups for sentence in group):
        found += re.findall(r" ?[A-Za-z]+", re.sub(r"{\w+}", "", sentence))
    return list(dict.fromkeys(found))
