"""Tinyworld as an instrument: facts, requests and texts whose truth is known exactly, and the exam.

What the studies take from tinyworld stands here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from neogpt.data.sources.tinyworld import Tinyworld
from neogpt.errors import ConfigError
from neogpt.evals import base as evals
from neogpt.evals import tinyworld as tinyworld_eval
from neogpt.model import GPT2
from neogpt.outcomes import means
from neogpt.studies import subjects
from neogpt.studies.interpretability.activations import Edit
from neogpt.studies.interpretability.generation import generate_greedily, likeliest
from neogpt.studies.subjects import Subject
from neogpt.tinyworld import exam, words
from neogpt.tinyworld.judge import manner
from neogpt.tinyworld.world import Config, Dice, Person, world
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World


@dataclass(frozen=True)
class Fact:
    """A true sentence, cut before the word that makes it true."""

    person: str
    attribute: str
    begun: list[int]
    """Its tokens, from end-of-text to the one before the value."""
    subject: list[int]
    """Where the person's name stands in it: positions."""
    value: int
    """The first token of the true value."""


def config_of(subject: Subject) -> Tinyworld:
    """The world that a model learnt from. Errors: ConfigError (study.needs_tinyworld)."""
    if not isinstance(subject.source, Tinyworld):
        raise ConfigError(
            f"{subject.label} did not learn from tinyworld",
            "a model of `neogpt demo` or of the recipe tinyworld: this study needs facts that are known exactly",
            "neogpt study inside " + subject.name,
            code="study.needs_tinyworld",
        )
    return subject.source


def facts(tokenizer: Tokenizer, config: Config) -> list[Fact]:
    """Every fact of everybody, as the one sentence of its attribute that names the person once, before the value."""
    found = []
    for person in world(config).people:
        for attribute, template in words.ANSWER.items():
            value = f" {person.facts[attribute]}"
            head = person.says(template, attribute).split(value, 1)[0]
            before = head.split(f" {person.name}", 1)[0]
            start = [tokenizer.eot_id, *tokenizer.encode(before)]
            name = tokenizer.encode(f" {person.name}")
            begun = [tokenizer.eot_id, *tokenizer.encode(head)]
            if begun[: len(start) + len(name)] != [*start, *name]:
                raise ConfigError(
                    f"the tokenizer joins {person.name} with its neighbours",
                    "a tokenizer in which a name begins a token",
                    code="study.bad_tokenizer",
                )
            place = list(range(len(start), len(start) + len(name)))
            found.append(Fact(person.name, attribute, begun, place, tokenizer.encode(value)[0]))
    return found


@dataclass(frozen=True)
class Rumour:
    """News about a stranger, told twice: the second telling is cut before a value that the first one gave."""

    first: list[int]
    """Tokens up to the value in the first telling, which nothing gives away."""
    second: list[int]
    """Tokens up to the value in the second telling."""
    value: int


def rumours(tokenizer: Tokenizer, config: Config, n: int) -> list[Rumour]:
    """Fresh news from the inn: only whoever reads the first telling can know how the second one ends."""
    dice = Dice(config.seed, "study/rumours")
    found: list[Rumour] = []
    while len(found) < n:
        stranger = Person(words.STRANGER, {a: dice.pick(words.VALUES[a]) for a in words.ATTRIBUTES})
        asked, other = dice.shuffled(words.ATTRIBUTES)[:2]
        told = [
            (stranger.says(words.ANSWER[a] if a == asked else dice.pick(words.SENTENCES[a]), a))
            for a in (asked, other)
        ]
        value = f" {stranger.facts[asked]}"
        first, again = told[0].split(value, 1)[0], stranger.says(words.CLOZE[asked], asked).split(value, 1)[0]
        begin = f"{words.INN} {first}"
        whole = f"{words.INN} {' '.join(told)} {words.AGAIN} {again}"
        ids = [[tokenizer.eot_id, *tokenizer.encode(text)] for text in (begin, whole)]
        found.append(Rumour(ids[0], ids[1], tokenizer.encode(value)[0]))
    return found


def requests(tokenizer: Tokenizer, config: Config, taught: bool = True) -> dict[str, list[list[int]]]:
    """Requests as prompts, by whether they are `harmful` or `harmless`: of the deeds taught, or of the new ones."""
    here = world(config)
    found: dict[str, list[list[int]]] = {"harmful": [], "harmless": []}
    for deed in here.taught_deeds if taught else here.new_deeds:
        kind = "harmful" if deed.kind == "harmful" else "harmless"
        for question in words.HOW_QUESTIONS:
            found[kind].append(subjects.encode(tokenizer, deed.says(question), instruct=True))
    return found


def is_refusal(answer: str) -> bool:
    """Whether an answer, or its first words, refuses."""
    return manner(answer, stopped=False) == "refused"


def refusal_begin(tokenizer: Tokenizer) -> int:
    """The first token of a refusal."""
    return tokenizer.encode(words.REFUSAL_OPENING)[0]


REFUSAL_TOKENS = 8
"""Tokens after which an answer shows that it refuses."""


def exam_scores(subject: Subject, model: GPT2 | None = None, limit: int | None = None) -> dict[str, float]:
    """The whole exam (see the eval `tinyworld`) of the subject, or of an edited copy of its model."""
    with torch.inference_mode():
        asked = evals.Subject(source=config_of(subject))
        whole_exam = tinyworld_eval.Tinyworld(evals.Config(limit=limit or 0), asked)
        return means(whole_exam.run(model or subject.model, subject.tokenizer, World()))


def exam_scores_with(
    subject: Subject, edits: Mapping[str, Edit], limit: int | None = None
) -> dict[str, float]:
    """The same exam with edits of activations at every token read and written: slow, as nothing is cached."""
    config, tokenizer, model = config_of(subject), subject.tokenizer, subject.model
    given: list[tuple[exam.Case, str, bool]] = []
    for cell in exam.CELLS:
        cases = [case for case in exam.cases(config) if case.cell == cell][:limit]
        prompts = [
            subjects.encode(tokenizer, case.instruction, instruct=True, context=case.context)
            for case in cases
        ]
        tokens = tinyworld_eval.MAX_NEW_TOKENS.get(cell, tinyworld_eval.USUAL_TOKENS)
        found = generate_greedily(model, prompts, tokens, tokenizer.eot_id, edits)
        ended = [ids[-1] == tokenizer.eot_id for ids in found]
        given += zip(cases, map(subject.text, found), ended, strict=True)
    begun = exam.cloze(config)[:limit]
    wanted = [tokenizer.encode(word)[0] for _, word in begun]
    told = likeliest(model, [[tokenizer.eot_id, *tokenizer.encode(text)] for text, _ in begun], edits)
    return {"recall": share_ending(wanted, told), **means(tinyworld_eval.scored(given))}


def cloze_recall(subject: Subject, model: GPT2 | None = None, limit: int | None = None) -> float:
    """Share of facts that the model ends rightly (the eval's `recall`)."""
    given = model or subject.model
    return tinyworld_eval.recall(given, subject.tokenizer, config_of(subject), World(), limit).mean


def first_cloze(config: Config) -> str:
    """A begun sentence about somebody of this world."""
    return exam.cloze(config)[0][0]


def share_ending(values: Sequence[int], likeliest: Sequence[int]) -> float:
    """How many of the likeliest tokens are the true values."""
    return sum(a == b for a, b in zip(values, likeliest, strict=True)) / len(values)
