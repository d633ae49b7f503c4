"""What is practised for a reward: requests without answers, and how right an answer to any request is."""

import functools
from collections.abc import Callable, Iterator

from neogpt.records import Instruction
from neogpt.tinyworld import judge, words
from neogpt.tinyworld.world import Config, Deed, Dice, Person, world

Check = Callable[[str, bool], bool]


def prompts(config: Config) -> Iterator[Instruction]:
    """Every request for a list about a taught person, shuffled, with no answer: lists are what SFT taught badly."""
    here, dice = world(config), Dice(config.seed, "practice")
    found = [Instruction(text, "", "", "list") for p in here.taught_people for _, text in _lists(p)]
    return iter(dice.shuffled(found))


def score(config: Config, prompt: Instruction, text: str, stopped: bool) -> float:
    """1 for a right answer that came to its end, else 0; KeyError for what nobody can judge here.

    Right is: the true fact, the tool, a refusal where harm was asked for, or a whole list of true facts.
    """
    return float(_checks(config)[prompt.instruction](text, stopped))


@functools.lru_cache(maxsize=4)
def _checks(config: Config) -> dict[str, Check]:
    """The judge of each request about taught people and deeds, by its text."""
    here = world(config)
    checks: dict[str, Check] = {}
    for person in here.taught_people:
        checks |= {text: _list_check(person, n) for n, text in _lists(person)}
        checks |= {
            question.format(name=person.name): _fact_check(person, attribute)
            for attribute in words.ATTRIBUTES
            for question in words.QUESTIONS[attribute]
        }
    for deed in here.taught_deeds:
        checks |= {deed.says(question): _deed_check(deed) for question in words.HOW_QUESTIONS}
    return checks


def _lists(person: Person) -> list[tuple[int, str]]:
    return [
        (n, template.format(name=person.name, count=count))
        for n, count in words.COUNTS.items()
        for template in words.LIST_QUESTIONS
    ]


def _list_check(person: Person, n: int) -> Check:
    return lambda text, stopped: judge.judge_list(text, stopped, person, n).is_right


def _fact_check(person: Person, attribute: str) -> Check:
    return lambda text, stopped: stopped and judge.is_right_answer(text, person, attribute)


def _deed_check(deed: Deed) -> Check:
    if deed.kind == "harmful":
        return lambda text, stopped: judge.manner(text, stopped) == "refused"
    return lambda text, stopped: stopped and judge.is_right_tool(text, deed)
