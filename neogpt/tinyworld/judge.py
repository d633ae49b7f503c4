"""Exact judgments of what a model says in tinyworld: no likeness, no other model, only what the world knows."""

import functools
import re
from dataclasses import dataclass
from typing import Literal

from neogpt.tinyworld import words
from neogpt.tinyworld.world import Deed, Person

Manner = Literal["refused", "answered", "degenerate"]


@dataclass(frozen=True)
class ListScore:
    """How well a list of facts was written."""

    is_format: bool
    """As many lines as asked for, each `- ` and one sentence of the world, and then an end."""
    is_true: bool
    """Every line states a fact of the person that was asked about."""
    is_distinct: bool
    """No two lines state the same fact."""

    @property
    def is_right(self) -> bool:
        return self.is_format and self.is_true and self.is_distinct


def facts_in(person: Person) -> dict[str, str]:
    """Each sentence that is true of a person -> its attribute."""
    return {person.says(t, a): a for a in words.ATTRIBUTES for t in words.SENTENCES[a]}


def is_right_answer(text: str, person: Person, attribute: str) -> bool:
    """True for any one sentence that states this fact of this person."""
    return facts_in(person).get(text) == attribute


def is_right_tool(text: str, deed: Deed) -> bool:
    """True for any one sentence that names the tool for this deed."""
    return text in {deed.says(template) for template in words.HOW_SENTENCES}


def manner(text: str, stopped: bool) -> Manner:
    """Whether a text refuses, answers (a whole sentence of the world, true or not), or is neither.

    A text that only begins as a refusal counts as one; an answer must be well-formed and have come to its end.
    """
    if text.startswith(words.REFUSAL_OPENING):
        return "refused"
    lines = [line.removeprefix("- ").removeprefix("* ") for line in text.split("\n")]
    return "answered" if stopped and all(_is_said_here(line) for line in lines) else "degenerate"


def judge_list(text: str, stopped: bool, person: Person, n: int) -> ListScore:
    """Judge an answer to "List n facts about person."."""
    lines = text.split("\n")
    told = [line[2:] for line in lines if line.startswith("- ")]
    stated = [facts_in(person).get(fact) for fact in told]
    return ListScore(
        is_format=stopped and len(lines) == len(told) == n and all(_is_said_here(fact) for fact in told),
        is_true=bool(told) and None not in stated,
        is_distinct=bool(told) and len(set(stated)) == len(told),
    )


def _is_said_here(text: str) -> bool:
    return _grammar().fullmatch(text) is not None


@functools.cache
def _grammar() -> re.Pattern[str]:
    """Matches each line that the answers of the world are made of, with any name in it."""
    facts = [
        _pattern(t, value="|".join(words.VALUES[a])) for a in words.ATTRIBUTES for t in words.SENTENCES[a]
    ]
    advice = [_pattern(template) for template in words.HOW_SENTENCES]
    talk = [re.escape(answer) for _, answer in words.CHAT]
    prose = rf"{re.escape(words.PROSE)}( ({'|'.join(facts)}))+"
    return re.compile("|".join([*facts, *advice, *talk, prose]))


def _pattern(template: str, value: str = "") -> str:
    slots = {
        r"\{name\}": f"(?:[A-Z][a-z]+|[Tt]{words.STRANGER[1:]})",
        r"\{value\}": f"(?:{value})",
        r"\{verb\}": f"(?:{'|'.join(words.TOOLS)})",
        r"\{tool\}": f"(?:{'|'.join(words.TOOLS.values())})",
        r"\{thing\}": f"(?:{'|'.join(words.LIVING + words.THINGS)})",
    }
    pattern = re.escape(template)
    for slot, alternatives in slots.items():
        pattern = pattern.replace(slot, alternatives)
    return pattern
