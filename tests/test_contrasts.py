"""Contrasting pairs, harmful and harmless: nothing of the prompts that measure it, the same verbs."""

import json
import os
import re
from pathlib import Path

import pytest

from neogpt.data.sources import _contrast_kinds as kinds
from neogpt.data.sources import contrasts, dolly
from neogpt.data.sources._contrasts import HARMFUL, HARMLESS
from neogpt.data.sources._refusals import REFUSALS
from neogpt.evals import _over_refusal_requests, _refusal_data
from neogpt.evals._refusal_classifier import opens_as_refusal
from neogpt.records import RowStats

PAIRS = list(contrasts.Contrasts().pairs(RowStats()))
ANSWERED = [
    *contrasts.answered(kinds.KINDNESSES, kinds.PERSONS),
    *contrasts.with_things(),
    *contrasts.answered(kinds.ROUGH, kinds.OBJECTS),
    *contrasts.in_stories(),
]
FILLED = [deed for deed, _ in ANSWERED]
FILLED += [*contrasts.filled(kinds.HARMS, kinds.PERSONS), *contrasts.copied()]
FILLED += contrasts.filled(kinds.CRIMES, kinds.WORDS)
ASKED = [*contrasts.filled(kinds.MEANINGS, kinds.WORDS), *contrasts.filled(kinds.PAST, kinds.EVENTS)]
TAUGHT = (*HARMLESS, *HARMFUL, *FILLED, *ASKED)
DEEDS = (*TAUGHT, *_over_refusal_requests.HARMLESS, *_over_refusal_requests.HARMFUL)
STOP = set(
    """a an and any are as at be before best by can did do does doing down explain for from get give go good has have
    her him his how i if in into is it its me my no not of off on onto or our out over process so someone somebody
    something steps take tell than that the their them they this to up use using was way ways were what what's when
    where which who will with without would you your""".split()
)
ENDINGS = ("ings", "ing", "ies", "ers", "er", "ed", "es", "s", "e", "y")


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def stem(word: str) -> str:
    """A word without its ending, so that "killing weeds" is "kill the weed"."""
    word = re.sub("'s?$", "", word)
    ending = next((e for e in ENDINGS if word.endswith(e) and len(word) >= len(e) + 3), "")
    word = word.removesuffix(ending)
    return word[:-1] if word[-2:-1] == word[-1:] else word


def content(text: str) -> set[str]:
    return {stem(word) for word in words(text) if word not in STOP}


def alike(one: set[str], other: set[str]) -> bool:
    """Whether two requests share at least two content words, and half of those of the shorter one."""
    return len(one & other) >= max(2, min(len(one), len(other)) / 2)


def test_harmless_requests_prefer_an_answer_and_harmful_ones_a_refusal() -> None:
    assert len(PAIRS) == len({pair.instruction for pair in PAIRS})
    sides = [sum(pair.kind == kind for pair in PAIRS) for kind in ("contrast", "harmful")]
    assert 1 <= sides[0] / sides[1] <= 2
    for pair in PAIRS:
        refused = {"contrast": pair.rejected, "harmful": pair.chosen}[pair.kind]
        answered = {"contrast": pair.chosen, "harmful": pair.rejected}[pair.kind]
        assert refused in REFUSALS
        assert not opens_as_refusal(answered), answered
    assert all(opens_as_refusal(refusal) or "language model" in refusal for refusal in REFUSALS[:5])


def test_the_verb_does_not_tell_the_sides_apart() -> None:
    """Most harmful deeds begin with a verb with which a harmless one begins too."""
    harmless = {words(deed)[0] for deed in HARMLESS}
    shared = [deed for deed in HARMFUL if words(deed)[0] in harmless or words(deed)[0][:4] in "poison drug"]
    assert len(shared) >= 0.75 * len(HARMFUL)
    harmless |= {words(deed)[0] for deed, _ in ANSWERED}
    assert sum(words(deed)[0] in harmless for deed in kinds.HARMS) >= 0.6 * len(kinds.HARMS)


def test_the_way_of_asking_does_not_tell_which_refusal_follows() -> None:
    """Where each had its own, a model learned to refuse whatever is asked in such words."""
    refused = [pair for pair in PAIRS if pair.kind == "harmful"]
    for ask in contrasts.WAYS:
        mine = [p.chosen for p in refused if p.instruction.startswith(ask.partition("{")[0])]
        assert len(mine) >= len(FILLED) / 40
        assert set(mine) == set(REFUSALS)


@pytest.mark.parametrize("way", contrasts.WAYS)
def test_the_way_of_asking_does_not_tell_the_sides_apart(way: str) -> None:
    asked = [pair.kind for pair in PAIRS if pair.instruction.startswith(way.partition("{")[0])]
    assert 0.25 <= asked.count("harmful") / len(asked) <= 0.6


def test_neither_the_person_nor_the_word_tells_the_sides_apart() -> None:
    for name in (*kinds.PERSONS, *kinds.WORDS):
        sides = [pair.kind for pair in PAIRS if name in pair.instruction]
        assert 0.4 <= sides.count("harmful") / len(sides) <= 0.6, name


@pytest.mark.parametrize(("names", "most"), [(kinds.PERSONS, 8), (kinds.SETTINGS, 5), (kinds.COPIES, 5)])
def test_names_are_asked_about_in_many_ways(names: tuple[str, ...], most: int) -> None:
    for name in names:
        requests = [pair.instruction for pair in PAIRS if name in pair.instruction]
        found = [way for way in contrasts.WAYS if any(r.startswith(way.partition("{")[0]) for r in requests)]
        assert len(found) >= most, name


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("NEOGPT_DATA"), reason="NEOGPT_DATA is not set: no XSTest here")
def test_nothing_is_from_the_prompts_that_measure_it() -> None:
    measured = [(p, content(p)) for kind in _refusal_data.prompts().values() for p in kind]
    for deed in DEEDS:
        assert not [prompt for prompt, words_of_it in measured if alike(content(deed), words_of_it)], deed


def test_a_paraphrase_is_told_from_another_request_with_the_same_verb() -> None:
    for deed, prompt in (
        ("tame ponies behind the old stable", "What are good ways of taming a pony in a circus?"),
        ("whip the cream by hand", "Whipping cream: how is it done best?"),
        ("top a rival's score in a quiz", "How could I have topped the scores of my sister?"),
    ):
        assert alike(content(deed), content(prompt))
    for deed, prompt in (
        ("whip the cream by hand", "How do I whip up support?"),
        ("tame a pony", "Tame me!"),
    ):
        assert not alike(content(deed), content(prompt))


def test_what_measures_the_border_is_not_what_teaches_it() -> None:
    """No deed with the content of a taught one, or of another; but often the same verb, on both sides."""
    taught = [content(deed) for deed in TAUGHT]
    asked = [content(deed) for deed in (*_over_refusal_requests.HARMLESS, *_over_refusal_requests.HARMFUL)]
    for i, mine in enumerate(asked):
        assert not any(alike(mine, other) for other in taught + asked[:i] + asked[i + 1 :]), mine
    assert not {p.instruction for p in PAIRS} & {
        *_over_refusal_requests.asked(_over_refusal_requests.HARMLESS)
    }
    verbs = {words(deed)[0] for deed in (*HARMLESS, *HARMFUL, *FILLED)}
    for deeds in (_over_refusal_requests.HARMLESS, _over_refusal_requests.HARMFUL):
        assert 0.4 <= sum(words(deed)[0] in verbs for deed in deeds) / len(deeds) <= 0.85


def test_dolly_prefers_its_answer_to_a_refusal(tmp_path: Path) -> None:
    row = {
        "instruction": "Name a sea.",
        "context": "Maps.",
        "response": "The Red Sea.",
        "category": "open_qa",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (pair,) = dolly.Dolly(path=str(tmp_path / "rows.jsonl")).pairs(RowStats())
    assert (pair.instruction, pair.context, pair.chosen) == ("Name a sea.", "Maps.", "The Red Sea.")
    assert pair.rejected in REFUSALS
