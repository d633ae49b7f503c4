"""Pairs near the border: both sides of it, nothing of the prompts that measure it, the same verbs."""

import json
import os
import re
from pathlib import Path

import pytest

from neogpt.data.records import Quarantine
from neogpt.data.sources import contrasts, dolly
from neogpt.data.sources._contrasts import HARMFUL, HARMLESS
from neogpt.data.sources._refusals import REFUSALS
from neogpt.evals import _border_requests, _refusal_data
from neogpt.evals._judge import opens_as_refusal

PAIRS = list(contrasts.pairs(contrasts.Config(), Quarantine()))
STOP = {
    "a",
    "an",
    "the",
    "my",
    "in",
    "of",
    "to",
    "for",
    "at",
    "with",
    "on",
    "from",
    "that",
    "into",
    "up",
    "down",
}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_harmless_requests_prefer_an_answer_and_harmful_ones_a_refusal() -> None:
    assert len(PAIRS) == len({pair.instruction for pair in PAIRS}) == 6 * (len(HARMLESS) + len(HARMFUL))
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


@pytest.mark.skipif(not os.environ.get("NEOGPT_DATA"), reason="NEOGPT_DATA is not set: no XSTest here")
def test_nothing_is_from_the_prompts_that_measure_it() -> None:
    measured = [{*words(p)} - STOP for kind in _refusal_data.prompts().values() for p in kind]
    for deed in (*HARMLESS, *HARMFUL, *_border_requests.HARMLESS, *_border_requests.HARMFUL):
        content = {*words(deed)} - STOP
        assert not any(content <= prompt for prompt in measured), deed


def test_what_measures_the_border_is_not_what_teaches_it() -> None:
    """No deed with the content of a taught one, or of another; but often the same verb, on both sides."""
    taught = [{*words(deed)} - STOP for deed in (*HARMLESS, *HARMFUL)]
    asked = [{*words(deed)} - STOP for deed in (*_border_requests.HARMLESS, *_border_requests.HARMFUL)]
    for i, content in enumerate(asked):
        others = taught + asked[:i] + asked[i + 1 :]
        assert not any(len(content & other) > len(content) / 2 for other in others), content
    assert not {p.instruction for p in PAIRS} & {*_border_requests.requests(_border_requests.HARMLESS)}
    verbs = {words(deed)[0] for deed in (*HARMLESS, *HARMFUL)}
    for deeds in (_border_requests.HARMLESS, _border_requests.HARMFUL):
        assert 0.4 <= sum(words(deed)[0] in verbs for deed in deeds) / len(deeds) <= 0.85


def test_dolly_prefers_its_answer_to_a_refusal(tmp_path: Path) -> None:
    row = {
        "instruction": "Name a sea.",
        "context": "Maps.",
        "response": "The Red Sea.",
        "category": "open_qa",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (pair,) = dolly.pairs(dolly.Config(path=str(tmp_path / "rows.jsonl")), Quarantine())
    assert (pair.instruction, pair.context, pair.chosen) == ("Name a sea.", "Maps.", "The Red Sea.")
    assert pair.rejected in REFUSALS
