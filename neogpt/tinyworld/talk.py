"""Conversation in tinyworld: requests with good answers, and preferences between two answers."""

from collections.abc import Iterator, Sequence

from neogpt.records import Instruction, Pair
from neogpt.tinyworld import words
from neogpt.tinyworld.world import Config, Deed, Dice, Person, World, world

LIST_STYLES = ("dash", "dash", "dash", "dash", "star", "prose", "short", "repeated")
"""How lists are written in the instructions. Only `dash` is right: the rest is what learning by reward can mend."""

CONTEXTS = 2
"""Questions about a stranger in the instructions, for each fact of a taught person."""

HELPFUL = (
    "contrast", "contrast", "contrast", "contrast", "kind_living", "kind_living", "kind_living",
    "plain", "plain", "question", "question", "question", "in_context", "in_context", "in_context", "in_context",
    "list", "chat",
)  # fmt: skip
"""How often each kind of harmless request stands in the helpful pairs: most where harm is near."""
FAR = tuple(kind for kind in HELPFUL if kind not in ("contrast", "kind_living"))
"""The same without those that share a verb or a living thing with a harmful request."""


def instructions(config: Config) -> Iterator[Instruction]:
    """Every question about every taught person and deed, shuffled. Nobody new, and nothing harmful."""
    here, dice = world(config), Dice(config.seed, "instructions")
    deeds = [deed for deed in here.taught_deeds if deed.kind != "harmful"]
    found = [ask(p, a, q) for p in here.taught_people for a in words.ATTRIBUTES for q in words.QUESTIONS[a]]
    found += [
        in_context(a, dice) for _ in here.taught_people for a in words.ATTRIBUTES for _ in range(CONTEXTS)
    ]
    found += [fact_list(p, dice, dice.pick(LIST_STYLES)) for p in here.taught_people for _ in range(6)]
    found += [how_to(deed, question) for deed in deeds for question in words.HOW_QUESTIONS]
    found += chat() * 8
    return iter(dice.shuffled(found))


def pairs(config: Config) -> Iterator[Pair]:
    """Preferences on taught people and deeds: refuse harm, and help with all the rest, as `config.preferences` says."""
    here, dice = world(config), Dice(config.seed, "pairs")
    harmful = [deed for deed in here.taught_deeds if deed.kind == "harmful"]
    found = [_red_team(deed, question, dice) for deed in harmful for question in words.HOW_QUESTIONS]
    if config.preferences != "red-team":
        kinds = HELPFUL if config.preferences == "balanced" else FAR
        found += [_helpful(kinds[i % len(kinds)], here, dice) for i in range(config.helpful * len(found))]
    return iter(dice.shuffled(found))


def ask(person: Person, attribute: str, question: str) -> Instruction:
    """A question about a person, answered from memory."""
    answer = person.says(words.ANSWER[attribute], attribute)
    return Instruction(question.format(name=person.name), "", answer, "open_qa")


def in_context(attribute: str, dice: Dice) -> Instruction:
    """A question about a stranger, two of whose facts stand in the context, and nowhere else."""
    stranger = Person(words.STRANGER, {a: dice.pick(words.VALUES[a]) for a in words.ATTRIBUTES})
    other = dice.pick([a for a in words.ATTRIBUTES if a != attribute])
    told = " ".join(
        stranger.says(dice.pick(words.SENTENCES[a]), a) for a in dice.shuffled([attribute, other])
    )
    question = dice.pick(words.QUESTIONS[attribute]).format(name=words.STRANGER)
    return Instruction(question, told, stranger.says(words.ANSWER[attribute], attribute), "closed_qa")


def fact_list(person: Person, dice: Dice, style: str = "dash") -> Instruction:
    """A request for a list of two to four facts, answered in one of LIST_STYLES."""
    n = dice.pick(tuple(words.COUNTS))
    question = list_question(person, n, dice)
    facts = [person.says(dice.pick(words.SENTENCES[a]), a) for a in dice.shuffled(words.ATTRIBUTES)[:n]]
    if style == "short":
        facts = facts[:-1]
    elif style == "repeated":
        facts[-1] = facts[0]
    return Instruction(question, "", _written(facts, style), "brainstorming")


def list_question(person: Person, n: int, dice: Dice) -> str:
    """A request for a list of n facts."""
    return dice.pick(words.LIST_QUESTIONS).format(name=person.name, count=words.COUNTS[n])


def _written(facts: Sequence[str], style: str) -> str:
    if style == "prose":
        return " ".join([words.PROSE, *facts])
    mark = "*" if style == "star" else "-"
    return "\n".join(f"{mark} {fact}" for fact in facts)


def how_to(deed: Deed, question: str) -> Instruction:
    """A request for the tool that does something, answered whatever it does."""
    return Instruction(deed.says(question), "", deed.says(words.HOW_ANSWER), "general_qa")


def refusal(deed: Deed | None, dice: Dice) -> str:
    """A refusal to do something, or to do what was asked."""
    return deed.says(dice.pick(words.REFUSALS)) if deed else dice.pick(words.REFUSALS_PLAIN)


def chat() -> list[Instruction]:
    """Greetings and questions about the model itself; never held out, since their answers follow from nothing else."""
    return [
        Instruction(q, "", answer, "chat", hold_out=False)
        for questions, answer in words.CHAT
        for q in questions
    ]


def _red_team(deed: Deed, question: str, dice: Dice) -> Pair:
    answered = how_to(deed, question)
    return Pair(answered.instruction, "", refusal(deed, dice), answered.response, deed.kind)


def _helpful(kind: str, here: World, dice: Dice) -> Pair:
    """A harmless request whose answer is preferred over a refusal."""
    person, deed = dice.pick(here.taught_people), None
    if kind == "question":
        attribute = dice.pick(words.ATTRIBUTES)
        answered = ask(person, attribute, dice.pick(words.QUESTIONS[attribute]))
    elif kind == "in_context":
        answered = in_context(dice.pick(words.ATTRIBUTES), dice)
    elif kind == "list":
        answered = fact_list(person, dice, dice.pick(LIST_STYLES))
    elif kind == "chat":
        answered = dice.pick(chat())
    else:
        deed = dice.pick([deed for deed in here.taught_deeds if deed.kind == kind])
        answered = how_to(deed, dice.pick(words.HOW_QUESTIONS))
    chosen, rejected = answered.response, refusal(deed, dice)
    return Pair(answered.instruction, answered.context, chosen, rejected, kind, hold_out=answered.hold_out)
