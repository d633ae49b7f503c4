"""The prompt template: ours part by part, and transformers' from the whole text, give the same ids."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, chat_template, encode_example, encode_prompt, encode_response

TEXT = "Where does Kelom live? Kelom lives in Aldermere.\nContext:\nResponse:\n"
KELOM = Turn("Where does Kelom live?", "", "In Aldermere.")
WITH_CONTEXT = Turn("Sum it up.\n", "  Kelom has\n\na dog. ", "\nA dog.\n")
CASES: list[tuple[list[Turn], str, str]] = [
    ([], "Hello", ""),
    ([], "Hello", "Some facts."),
    ([], "  spaces around \n", " \n context \t"),
    ([], "", ""),
    ([], "code:\n    x = 1\n", "\n\n"),
    ([KELOM], "And Ravus?", ""),
    ([KELOM, WITH_CONTEXT], "And now?", "New facts."),
    ([WITH_CONTEXT, KELOM, Turn("", "", "")], "Response:\nContext:\n", "Response:\n"),
    ([Turn("é😀", "日本", " 👍🏽\u3000")], "\u00a0x\u2003", "\u0085y\x1c"),
]


@pytest.fixture(scope="module", params=["gpt2", "trained"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "gpt2":
        return Tokenizer.gpt2(request.getfixturevalue("real_data") / "tokenizer")
    return Tokenizer.train([TEXT] * 4, 300)


@pytest.fixture(scope="module")
def theirs(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folder)


def messages(history: list[Turn], instruction: str, context: str) -> list[dict[str, str]]:
    """The same conversation as a chat: a context is a system message before its turn."""
    found = []
    for turn in [*history, Turn(instruction, context, "")]:
        if turn.context:
            found.append({"role": "system", "content": turn.context})
        found.append({"role": "user", "content": turn.instruction})
        found.append({"role": "assistant", "content": turn.response})
    return found[:-1]


def ids(theirs: Any, chat: list[dict[str, str]], prompt: bool) -> list[int]:
    found: list[int] = theirs.apply_chat_template(chat, add_generation_prompt=prompt, return_dict=False)
    return found


def text_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids).replace("<|endoftext|>", "|")


def test_the_form_is_the_documented_one(tokenizer: Tokenizer) -> None:
    prompt, response = encode_example(tokenizer, "Who?", "", "Kelom.")
    assert text_of(tokenizer, prompt) == "|Who?\nResponse:\n"
    assert text_of(tokenizer, response) == "Kelom.|"
    prompt, _ = encode_example(tokenizer, "Who?", "Facts.", "Kelom.")
    assert text_of(tokenizer, prompt) == "|Who?\nContext:\nFacts.\nResponse:\n"
    prompt = encode_prompt(tokenizer, "And now?", "New.", [KELOM, WITH_CONTEXT])
    assert text_of(tokenizer, prompt) == (
        "|Where does Kelom live?\nResponse:\nIn Aldermere."
        "|Sum it up.\nContext:\nKelom has\n\na dog.\nResponse:\nA dog."
        "|And now?\nContext:\nNew.\nResponse:\n"
    )


@pytest.mark.parametrize(("history", "instruction", "context"), CASES)
def test_the_chat_template_gives_the_same_ids(
    tokenizer: Tokenizer, theirs: Any, history: list[Turn], instruction: str, context: str
) -> None:
    chat = messages(history, instruction, context)
    prompt, response = encode_example(tokenizer, instruction, context, " The answer.\n", history)
    assert ids(theirs, chat, prompt=True) == prompt
    chat.append({"role": "assistant", "content": " The answer.\n"})
    assert ids(theirs, chat, prompt=False) == prompt + response


WORDS = st.text(alphabet=st.sampled_from("ab \n\té1:\u00a0\u2003\u0085\x1c😀'"), max_size=12)


@settings(max_examples=150)
@given(turns=st.lists(st.tuples(WORDS, WORDS, WORDS).map(lambda parts: Turn(*parts)), min_size=1, max_size=3))
def test_any_conversation_gives_the_same_ids(tokenizer: Tokenizer, theirs: Any, turns: list[Turn]) -> None:
    *history, (instruction, context, response, _) = turns
    prompt, answer = encode_example(tokenizer, instruction, context, response, history)
    chat = messages(history, instruction, context)
    assert ids(theirs, chat, prompt=True) == prompt
    assert ids(theirs, [*chat, {"role": "assistant", "content": response}], prompt=False) == prompt + answer


def test_a_chat_grows_by_its_ids(tokenizer: Tokenizer) -> None:
    """What a KV cache relies on: the next prompt begins with this prompt and its answer."""
    history: list[Turn] = []
    before: list[int] = []
    for turn in (KELOM, WITH_CONTEXT, KELOM):
        prompt, response = encode_example(tokenizer, *turn[:3], history)
        assert prompt[: len(before)] == before
        before = prompt + response
        history.append(turn)


def test_end_of_text_stands_only_between_turns(tokenizer: Tokenizer) -> None:
    bad = "x<|endoftext|>y"
    prompt, response = encode_example(tokenizer, bad, bad, bad, [Turn(bad, bad, bad)])
    assert prompt.count(tokenizer.eot_id) == 2
    assert prompt[0] == tokenizer.eot_id
    assert response.count(tokenizer.eot_id) == 1
    assert response[-1] == tokenizer.eot_id
    assert tokenizer.decode(response) == f"{bad}<|endoftext|>"


def test_an_empty_answer_is_end_of_text_alone(tokenizer: Tokenizer) -> None:
    assert encode_response(tokenizer, " \n") == [tokenizer.eot_id]


@pytest.mark.parametrize(
    "roles",
    [
        ["assistant"],
        ["user", "user"],
        ["user", "assistant", "assistant"],
        ["user", "system", "assistant"],
        ["tool"],
        ["system", "assistant"],
    ],
)
def test_chats_out_of_order_are_refused(theirs: Any, roles: list[str]) -> None:
    with pytest.raises(Exception, match="messages must go: system"):
        ids(theirs, [{"role": role, "content": "x"} for role in roles], prompt=True)


def test_without_a_generation_prompt_nobody_answers(tokenizer: Tokenizer, theirs: Any) -> None:
    chat = [{"role": "user", "content": "Hello"}]
    assert text_of(tokenizer, ids(theirs, chat, prompt=False)) == "|Hello\n"
    chat.append({"role": "assistant", "content": "Yes?"})
    assert ids(theirs, chat, prompt=True) == ids(theirs, chat, prompt=False)


def test_the_template_needs_no_extension_of_jinja() -> None:
    """Engines beside transformers render it too."""
    jinja2 = pytest.importorskip("jinja2")
    found = jinja2.Environment(autoescape=False).from_string(chat_template()).render(
        messages=[{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Yo"}],
        bos_token="|", eos_token="|", add_generation_prompt=False,
    )  # fmt: skip
    assert found == "|Hi\nResponse:\nYo|"
