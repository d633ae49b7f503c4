"""Rewards: what each is worth by hand, and exploits that must not pay."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from neogpt import plugins
from neogpt.data.sources import dolly, tinyworld
from neogpt.errors import ConfigError
from neogpt.objectives import rl
from neogpt.objectives.rl.rewards import coherence, correct, finished, format, length, relevance, repetition
from neogpt.objectives.rl.rewards.base import Answer, Human, Known, Rewards
from neogpt.records import Instruction, RowStats
from neogpt.tinyworld import talk, words
from neogpt.tinyworld.world import world
from neogpt.tokenizer.template import Turn

WORLD = tinyworld.Tinyworld(n_people=6)
KNOWN = Known(WORLD, Human(log_prob=(-3.0, 0.5), gain=1.0, tokens=(5.0, 20.0)))


def said(text: str, request: str = "Say something.", **changes: Any) -> Answer:
    """An answer whose tokens are its words, then its end."""
    found = text.split()
    ids = {word: i + 1 for i, word in enumerate(dict.fromkeys(found))}
    tokens = [*(ids[word] for word in found), 0]
    plain = Answer(Instruction(request), text, tokens, stopped=True, limit=40)
    return dataclasses.replace(plain, **changes)


def likely(text: str, each: float, alone: float = -5.0, **changes: Any) -> Answer:
    """An answer whose every token has this log-probability (and that without the prompt)."""
    n = len(said(text).tokens)
    return said(text, log_probs=[each] * n, log_probs_alone=[alone] * n, **changes)


@pytest.mark.parametrize("name", plugins.names("neogpt.objectives.rl.rewards"))
def test_every_reward_gives_a_share_and_nothing_for_silence(name: str) -> None:
    module = plugins.get("neogpt.objectives.rl.rewards", name)
    request = next(WORLD.prompts(RowStats())).instruction
    for text in ("", "A short answer.", "word " * 30, "- a\n- b", request):
        value = module.reward(likely(text, -3.0, request=request), KNOWN)
        assert isinstance(value, float)
        assert 0 <= value <= 1
    for text in ("", ".", "...", "- - -.", "- .\n- ,\n- ;", "\N{BULLET} _\n\N{BULLET} -"):
        assert module.reward(likely(text, -3.0, request=request), KNOWN) == 0, text


# --- format ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "form", "n"),
    [
        ("List three facts about Bo.", "list", 3),
        ("What do you know about Bo? List 4 facts.", "list", 4),
        ("Write a list of two facts about Bo.", "list", 2),
        ("Give me five tips for staying healthy", "list", 5),
        ("Give me a bulleted list of fruits", "list", 0),
        ("Make a list of fruits", "list", 0),
        ("Write a numbered list of the planets", "numbered list", 0),
        ("As a numbered list, give me three reasons to read.", "numbered list", 3),
        ("Is water wet? Answer yes or no.", "yes or no", 0),
        ("In one sentence, what is love?", "one sentence", 0),
    ],
)
def test_the_form_asked_for(request_: str, form: str, n: int) -> None:
    found = format.asked(request_)
    assert found is not None
    assert (found.format, found.n) == (form, n)


@pytest.mark.parametrize(
    "request_",
    [
        "What is the capital of France?",
        "Tell me two words.",
        "Who lists?",
        "Write one paragraph on AI/ML",
        "Write two short paragraphs on the sea.",
        "Give me 3 stanzas about rain",
        "Name one science fiction book",
        "Give me one reason why",
        "List 1984 facts",  # a book or a year, and no count
    ],
)
def test_no_form_is_asked_for(request_: str) -> None:
    assert format.asked(request_) is None
    assert format.reward(said("- a\n- b", request_), KNOWN) == 0


@pytest.mark.parametrize(
    ("request_", "text", "worth"),
    [
        ("List two facts.", "- One.\n- Two.", 1.0),
        ("List two facts.", "* One.\n* Two.", 0.5),
        ("List two facts.", "- One.\n* Two.", 0.0),
        ("List two facts.", "- One.", 0.0),
        ("List two facts.", "- One.\n- Two.\n- Three.", 0.0),
        ("List two facts.", "- One.\n- one.", 0.0),  # the same again is no second item
        ("List two facts.", "- One.\n- one!", 0.0),
        ("List two facts.", "- One.\n- ", 0.0),
        ("List two facts.", "- .\n- ,", 0.0),
        ("List two numbers.", "- 1\n- 2", 1.0),
        ("List two facts.", "Here they are:\n- One.\n- Two.", 0.0),
        ("Make a list of fruits.", "- Apple", 0.0),
        ("Make a list of fruits.", "- Apple\n- Pear\n- Plum", 1.0),
        ("A numbered list of two things.", "1. One\n2. Two", 1.0),
        ("A numbered list of two things.", "1) One\n2) Two", 1.0),
        ("A numbered list of two things.", "1. One\n3. Two", 0.0),
        ("A numbered list of two things.", "- One\n- Two", 0.0),
        ("Yes or no?", "Yes.", 1.0),
        ("Yes or no?", "No", 1.0),
        ("Yes or no?", "Yes, and no.", 0.0),
        ("In one sentence, who is she?", "She is the captain.", 1.0),
        ("In one sentence, who is she?", "She is the captain. He too.", 0.0),
        ("In one sentence, who is she?", "She is the captain", 0.0),
        ("In one sentence, who is she?", "She.", 0.0),
        ("In one sentence, who is she?", "- - -.", 0.0),
        ("In one sentence, who won?", "Mr. Bo won.", 1.0),
        ("In one sentence, who won?", "It was Dr. Bo. He came late.", 0.0),
        ("In one sentence, who wrote it?", "J. R. R. Tolkien wrote it, e.g. the songs.", 1.0),
        ("In one sentence, who was it?", "It was I. She slept.", 0.0),
        ("In one sentence, how big is it?", "The U.S. is big.", 1.0),
        ("In one sentence, where is it?", "It lies in the U.S.", 1.0),
        ("In one sentence, where is it?", "he is here. he is there. he is gone.", 0.0),
    ],
)
def test_the_worth_of_a_form(request_: str, text: str, worth: float) -> None:
    assert format.reward(said(text, request_), KNOWN) == worth
    assert format.reward(said(text, request_, stopped=False), KNOWN) == 0


# --- the others --------------------------------------------------------------------------------------------


def test_only_an_end_of_its_own_is_an_end() -> None:
    assert finished.reward(said("Yes."), KNOWN) == 1
    assert finished.reward(said("Yes.", stopped=False), KNOWN) == 0
    assert finished.reward(said("  "), KNOWN) == 0


def test_length_is_a_wsd() -> None:
    worth = {n: length.reward(said("x", tokens=[0] * n), KNOWN) for n in (1, 3, 5, 20, 30, 40)}
    assert worth == pytest.approx({1: 0.0, 3: 0.5, 5: 1.0, 20: 1.0, 30: 0.5, 40: 0.0})


def test_an_answer_cut_off_at_the_limit_has_no_good_length() -> None:
    """Also where people write more than the model may: their band does not make the limit an end."""
    wordy = dataclasses.replace(KNOWN, human=Human(tokens=(5.0, 200.0)))
    assert length.reward(said("x", tokens=[1] * 40, stopped=False), wordy) == 0
    assert length.reward(said("x", tokens=[1] * 40), wordy) == 1


def test_repetition_counts_runs_of_three() -> None:
    assert repetition.reward(said("a b c d e"), KNOWN) == 1
    # a b c a b c and the end: abc bca cab abc bc0, of which one comes again
    assert repetition.reward(said("a b c a b c"), KNOWN) == pytest.approx(4 / 5)


def test_coherence_is_a_band() -> None:
    worth = {
        each: coherence.reward(likely("a b c d", each), KNOWN) for each in (-3.0, -2.5, -3.5, -2.0, -4.0)
    }
    assert worth == pytest.approx({-3.0: 1.0, -2.5: 1.0, -3.5: 1.0, -2.0: 0.5, -4.0: 0.5})


def test_relevance_is_what_the_prompt_adds() -> None:
    assert relevance.reward(likely("a b c d", -3.0, -3.5), KNOWN) == pytest.approx(0.5)
    assert relevance.reward(likely("a b c d", -3.0, -3.0), KNOWN) == 0
    assert relevance.reward(likely("a b c d", -3.0, -9.0), KNOWN) == 1


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("How do you play basketball?", 0.0),
        ("how, do, you, play, basketball", 0.0),
        ("How do you -- PLAY basketball", 0.0),
        ("Play basketball!", 0.0),
        ("Basketball", 0.0),
        ("An old game", 0.0),  # of the context
        ("Ask me of sports.", 0.0),  # of the turn before
        ("Throw the ball through a hoop.", 1.0),
        ("You play basketball with a ball.", 1.0),
        ("How do you play basketball with a ball?", 0.6),  # two of its five runs of four words
        ("Two teams", 1.0),
    ],
)
def test_a_copy_of_the_prompt_is_not_relevant(text: str, worth: float) -> None:
    prompt = Instruction(
        "How do you play basketball?", "An old game.", history=(Turn("Ask me of sports.", "", "I will."),)
    )
    assert relevance.reward(likely(text, -3.0, -9.0, prompt=prompt), KNOWN) == pytest.approx(worth)


def test_to_choose_what_is_offered_is_no_copying() -> None:
    fish, polar = "Which is a fish? Tope or rope", "Is Bo old? Answer yes or no."
    for request, text, worth in (
        (fish, "Tope", 1),
        (fish, "Rope.", 1),
        (fish, "A fish", 0),
        (polar, "No.", 1),
    ):
        assert relevance.reward(likely(text, -3.0, -9.0, request=request), KNOWN) == worth


def test_correct_is_what_the_world_knows() -> None:
    """Every taught request: its own good answer is right, another's or one cut off is not."""
    here = world(WORLD)
    person, other = here.taught_people[:2]
    question = words.QUESTIONS["town"][1].format(name=person.name)

    def worth(request: str, text: str, stopped: bool = True) -> float:
        return correct.reward(said(text, request, stopped=stopped), KNOWN)

    assert worth(question, person.says(words.ANSWER["town"], "town")) == 1
    assert worth(question, person.says(words.ANSWER["town"], "town"), stopped=False) == 0
    assert worth(question, other.says(words.ANSWER["town"], "town")) == 0
    listed = [f"- {person.says(words.SENTENCES[a][0], a)}" for a in ("town", "pet", "food")]
    request = words.LIST_QUESTIONS[0].format(name=person.name, count="three")
    assert worth(request, "\n".join(listed)) == 1
    assert worth(request, "\n".join([listed[0], *listed[:2]])) == 0
    harmful = next(deed for deed in here.taught_deeds if deed.kind == "harmful")
    asked = harmful.says(words.HOW_QUESTIONS[0])
    assert worth(asked, talk.how_to(harmful, asked).response) == 0
    assert worth(asked, harmful.says(words.REFUSALS[0])) == 1


def test_correct_needs_a_source_that_can_judge() -> None:
    with pytest.raises(ConfigError, match="dolly has no score for answers"):
        correct.reward(said("Yes."), Known(dolly.Dolly()))


# --- exploits ----------------------------------------------------------------------------------------------

BO = world(WORLD).taught_people[0]
LIST = words.LIST_QUESTIONS[0].format(name=BO.name, count="three")
BARE = "Where does Bo live?"
SENTENCE = f"{BARE} Answer in one sentence."
HONEST = dict.fromkeys((BARE, SENTENCE), "He lives by the sea and keeps a grey goat there.")
HONEST[LIST] = "\n".join(f"- {BO.says(words.SENTENCES[a][0], a)}" for a in ("town", "pet", "food"))

SETS = {"default": rl.Config().rewards}
ASKED = {"default": (BARE, SENTENCE, LIST), "tinyworld": (LIST,), "rl-dolly": (SENTENCE, LIST)}
"""What the source of each recipe asks: a form behind every request, save the default's."""
for recipe in plugins.names("neogpt.recipes"):
    if hasattr(module := plugins.get("neogpt.recipes", recipe), "rl"):
        SETS[recipe] = module.rl().objective.rewards

Exploit = Callable[[str], Answer]
EXPLOITS: dict[str, Exploit] = {
    "a very likely loop": lambda asked: likely("the sea " * 5, -0.2, -0.3, request=asked),
    "a loop that looks as likely as people": lambda asked: likely("the sea " * 6, -3.0, -4.0, request=asked),
    "word salad": lambda asked: likely(
        "goat keeps by the he and lives sea grey a.", -8.0, -8.2, request=asked
    ),
    "nothing": lambda asked: likely("", -3.0, -9.0, request=asked),
    "one word": lambda asked: likely("Yes", -3.0, -3.2, request=asked),
    "only punctuation": lambda asked: likely(".", -3.0, -9.0, request=asked),
    "punctuation in the form of a list": lambda asked: likely("- .\n- ,\n- ;", -3.0, -9.0, request=asked),
    "punctuation in the form of a sentence": lambda asked: likely("- - -.", -3.0, -9.0, request=asked),
    "a list of letters": lambda asked: likely("- a\n- b\n- c", -6.0, -6.0, request=asked),
    "the request again": lambda asked: likely(asked, -1.0, -6.0, request=asked),
    "the request with commas": lambda asked: likely(asked.replace(" ", ", "), -2.0, -6.0, request=asked),
    "boilerplate for every prompt": lambda asked: likely("I can tell you this.", -0.5, -0.5, request=asked),
    "never stopping": lambda asked: said(
        "He lives by the sea and " * 7,
        asked,
        stopped=False,
        tokens=list(range(40)),
        log_probs=[-3.0] * 40,
        log_probs_alone=[-4.0] * 40,
    ),
}


@pytest.mark.parametrize("name", EXPLOITS)
@pytest.mark.parametrize("recipe", SETS)
def test_an_exploit_earns_clearly_less_than_an_honest_answer(recipe: str, name: str) -> None:
    """For the rewards of every recipe, and whatever is asked there."""
    rewards = Rewards(SETS[recipe])
    for asked in ASKED[recipe]:
        honest = likely(HONEST[asked], -3.0, -4.0, request=asked)
        best, found = rewards.total(rewards.scores([honest, EXPLOITS[name](asked)], KNOWN))
        full = sum(rewards.weights) - (0 if format.asked(asked) else 0.5)
        assert best >= 0.95 * full, "an honest answer earns nearly all there is"
        assert found < 0.75 * best, asked


def test_likelihood_alone_would_be_gamed_and_the_band_is_not() -> None:
    """The likeliest answer of all is the loop; the reward prefers the honest one."""
    loop, honest = EXPLOITS["a very likely loop"](BARE), likely(HONEST[BARE], -3.0)
    assert sum(loop.log_probs) / len(loop.log_probs) > sum(honest.log_probs) / len(honest.log_probs)
    assert coherence.reward(loop, KNOWN) == 0
    assert coherence.reward(honest, KNOWN) == 1


def test_weights_add_up() -> None:
    rewards = Rewards(["finished:0.5", "length:2"])
    scores = rewards.scores([said("a b c d e"), said("a", stopped=False)], KNOWN)
    assert scores.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert rewards.total(scores).tolist() == [2.5, 0.0]
