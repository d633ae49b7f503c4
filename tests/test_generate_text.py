"""Text that grows token by token, against the text as a whole."""

import itertools
from typing import Any, cast

import pytest
from generation_models import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt.inference.streaming import AnswerText
from neogpt.tokenizer import Tokenizer


class Pieces:
    """A tokenizer whose token i is piece i."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def token_bytes(self, token_id: int) -> bytes:
        return self.pieces[token_id]


def grown(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[str, int, list[str]]:
    """The text, how many pieces it took until a stop string (or all), and what could be taken after each."""
    text, taken, n = AnswerText(cast(Tokenizer, Pieces(pieces)), stop), [], 0
    for n in range(len(pieces)):
        text.push(n)
        taken.append(text.take())
        if text.stopped:
            break
    text.finish()
    taken.append(text.take())
    return text.text, n + 1, taken


def first_stop(whole: str, stop: tuple[str, ...]) -> str:
    """The definition: characters come one by one; the longest stop string that the text now ends with is cut."""
    for end in range(len(whole) + 1):
        ending = [s for s in stop if whole[:end].endswith(s)]
        if ending:
            return whole[: end - max(map(len, ending))]
    return whole


def cut(data: bytes, borders: list[int]) -> list[bytes]:
    edges = [0, *sorted(b % (len(data) + 1) for b in borders), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.text(alphabet="abé😀\n", max_size=30),
    st.lists(st.text(alphabet="abé😀\n", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 1000), max_size=20),
)
@settings(max_examples=400)
def test_stop_strings_cut_the_same_wherever_tokens_end(
    whole: str, stop: list[str], borders: list[int]
) -> None:
    text, _, taken = grown(cut(whole.encode(), borders), tuple(stop))
    assert text == first_stop(whole, tuple(stop))
    assert "".join(taken) == text


@given(st.binary(max_size=40), st.lists(st.integers(0, 1000), max_size=20))
@settings(max_examples=300)
def test_any_bytes_give_the_text_that_decoding_at_once_gives(data: bytes, borders: list[int]) -> None:
    text, _, taken = grown(cut(data, borders))
    assert text == data.decode("utf-8", errors="replace") == "".join(taken)


def test_a_character_of_several_tokens_appears_whole() -> None:
    text, _, taken = grown([b"a", b"\xf0", b"\x9f", b"\x98", b"\x80", b"b"])
    assert text == "a😀b"
    assert taken == ["a", "", "", "", "😀", "b", ""]


def test_half_a_character_at_the_end_is_one_replacement() -> None:
    assert grown([b"a", b"\xf0\x9f"])[0] == "a\ufffd"


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "n"),
    [
        (["one END two"], ("END",), "one ", 1),
        (["one E", "N", "D two"], ("END",), "one ", 3),
        (["one E", "N", "T"], ("END",), "one ENT", 3),
        (["aab", "aabX"], ("aabX",), "aab", 2),
        (["ab", "c"], ("abc", "b"), "a", 1),
        (["xabc"], ("bc", "abc"), "x", 1),
        (["xabc"], ("abc", "b"), "xa", 1),
        (["\n", "\nQ"], ("\n\n",), "", 2),
        (["par", "ti"], ("partial",), "parti", 2),
    ],
)
def test_stop_strings_by_hand(pieces: list[str], stop: tuple[str, ...], text: str, n: int) -> None:
    found, used, taken = grown([piece.encode() for piece in pieces], stop)
    assert (found, used) == (text, n)
    assert "".join(taken) == text


def test_what_could_become_a_stop_string_is_held_back() -> None:
    assert grown([b"one E", b"N", b"T E"], ("END",))[2] == ["one ", "", "ENT ", "E"]


def test_a_real_tokenizer() -> None:
    tokenizer: Any = byte_tokenizer()
    text = AnswerText(tokenizer, ("mat!",))
    for token in tokenizer.encode("the 😀 cat sat on the mat! and more"):
        text.push(token)
        if text.stopped:
            break
    text.finish()
    assert text.text == "the 😀 cat sat on the "
