"""Encoding and decoding, against tiktoken and the slow published algorithm."""

import copy
import pickle
import unicodedata
from pathlib import Path

import pytest
import tiktoken
import tokenizer_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from neogpt.errors import DataError
from neogpt.tokenizer import StreamDecoder, Tokenizer, words
from neogpt.tokenizer.alphabet import byte_to_char
from neogpt.tokenizer.tables import BPE

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)
TEXT = (
    "the cat's mat, the rat's hat: 12 flat bats at 120 élan 😀😀 <|endoftext|> <|endoftext|>\n\n  that's that"
)


@pytest.fixture(scope="module")
def gpt2(real_data: Path) -> Tokenizer:
    return Tokenizer.gpt2(real_data / "tokenizer")


@pytest.fixture(scope="module")
def tik(real_data: Path) -> tiktoken.Encoding:
    return reference.tiktoken_gpt2(real_data)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return Tokenizer.train([TEXT] * 3, 330)


def test_byte_alphabet_is_openais() -> None:
    assert list(byte_to_char().items()) == list(reference.alphabet().items())


@pytest.mark.parametrize("text", reference.NASTY)
def test_gpt2_equals_tiktoken_on_nasty_text(gpt2: Tokenizer, tik: tiktoken.Encoding, text: str) -> None:
    ids = gpt2.encode(text)
    assert ids == tik.encode_ordinary(text)
    assert gpt2.decode(ids) == text == tik.decode(ids)
    assert gpt2.eot_id == 50256 not in ids


def test_gpt2_equals_tiktoken_on_every_character_of_the_fast_path(
    gpt2: Tokenizer, tik: tiktoken.Encoding
) -> None:
    """Each assigned character where the class of its neighbor shows: after letter, digit, sign and space."""
    chars = [chr(c) for c in (*range(0x10000), *range(0x1D400, 0x1FB00))]
    chars = [c for c in chars if unicodedata.category(c) not in ("Cn", "Cs", "Lo")]
    chars += [chr(c) for c in range(0x10000) if unicodedata.category(chr(c)) == "Lo"][::37]
    text = "".join(f"a{c}1{c}!{c} {c}\n{c} \n" for c in chars)
    assert gpt2.encode(text) == tik.encode_ordinary(text)


def test_gpt2_equals_tiktoken_on_characters_of_every_plane(gpt2: Tokenizer, tik: tiktoken.Encoding) -> None:
    for plane in range(17):
        codes = [c for c in range(plane << 16, (plane + 1) << 16, 199) if not 0xD800 <= c < 0xE000]
        text = "".join(f"a{chr(c)}1{chr(c)} {chr(c)}\n" for c in codes)
        assert gpt2.encode(text) == tik.encode_ordinary(text), plane


def cut(text: str) -> list[str]:
    """The words that the `tokenizers` library finds."""
    pieces = ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in pieces]


def around(char: str) -> str:
    """A text whose cut shows whether `char` is a letter, a number, a sign or white space."""
    return f"a{char}1{char}!{char} {char}a  {char}{char}\n{char} "


def test_words_are_cut_as_in_the_tokenizers_library_for_every_character_we_cut_at() -> None:
    codes = [c for span in words._SPANS for c in span if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    codes = [c for c in codes if unicodedata.category(chr(c)) != "Lo" or c % 29 == 0]
    for i in range(0, len(codes), 500):
        text = "".join(around(chr(c)) for c in codes[i : i + 500])
        assert words.split(text) == cut(text)


def test_characters_that_this_python_may_not_know_are_left_to_the_library() -> None:
    for code in (0x378, 0x1E4D0, 0x16E40, 0x20000, 0x30000, 0xE0041, 0xF0000, 0x10FFFF):
        assert words.split(around(chr(code))) is None
    assert words.split(around("a")) is not None


@pytest.mark.slow
def test_words_are_cut_as_in_the_tokenizers_library_for_every_character() -> None:
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            text = around(chr(code))
            assert words.split(text) in (None, cut(text)), hex(code)


@settings(max_examples=300)
@given(text=ANY_TEXT)
def test_gpt2_equals_tiktoken_on_any_text(gpt2: Tokenizer, tik: tiktoken.Encoding, text: str) -> None:
    assert gpt2.encode(text) == tik.encode_ordinary(text)


@settings(max_examples=200)
@given(text=st.text(alphabet=" \n\t'sdlrevmtaA1!\r\u00a0\u2003é<|>endoftext", max_size=60))
def test_gpt2_equals_tiktoken_where_words_are_cut(gpt2: Tokenizer, tik: tiktoken.Encoding, text: str) -> None:
    assert gpt2.encode(text) == tik.encode_ordinary(text)


def test_gpt2_equals_tiktoken_on_real_documents(
    gpt2: Tokenizer, tik: tiktoken.Encoding, real_data: Path
) -> None:
    text = (real_data / "demo" / "tinyshakespeare.txt").read_text()[:300_000]
    assert gpt2.encode(text) == tik.encode_ordinary(text)


@pytest.mark.parametrize("piece", ["^", "'s", " ", "😀", "<|endoftext|>"])
def test_a_million_repeated_characters_take_bounded_time(
    gpt2: Tokenizer, tik: tiktoken.Encoding, piece: str
) -> None:
    """What grows with the square of the length would take hours, and the time limit of every test is minutes."""
    text = piece * (1_000_000 // len(piece.encode()))
    ids = gpt2.encode(text)
    assert ids == tik.encode_ordinary(text)
    assert gpt2.decode(ids) == text


@settings(max_examples=200)
@given(text=ANY_TEXT | st.text(alphabet="the cat's mt1é\n😀<|>endoftx", max_size=80))
def test_trained_equals_the_published_algorithm(trained: Tokenizer, text: str) -> None:
    bpe = trained._bpe
    ids = trained.encode(text)
    assert ids == reference.encode(text, bpe.merges, bpe.vocab)
    assert trained.decode(ids) == text
    assert trained.eot_id not in ids


@given(data=st.binary(max_size=300))
def test_any_bytes_survive_as_ids(trained: Tokenizer, data: bytes) -> None:
    table = byte_to_char()
    ids = [trained._bpe.vocab[table[byte]] for byte in data]
    assert trained.decode_bytes(ids) == data
    assert trained.decode(ids) == data.decode("utf-8", errors="replace")


def test_lone_surrogates_become_replacement_characters(gpt2: Tokenizer, tik: tiktoken.Encoding) -> None:
    for text in ("a\ud800b", "\udfff", "\ud83d\ude00", "\ude00\ud83d"):
        assert gpt2.encode(text) == tik.encode_ordinary(text)
    assert gpt2.decode(gpt2.encode("\ud83d\ude00")) == "😀"


def test_encode_batch_is_encode(trained: Tokenizer) -> None:
    assert trained.encode_batch(reference.NASTY) == [trained.encode(text) for text in reference.NASTY]
    assert trained.encode_batch([]) == []


def test_the_word_cache_stays_small_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neogpt.tokenizer.bpe._CACHED_WORDS", 10)
    tokenizer = Tokenizer.train([TEXT] * 3, 330)
    for n in range(200):
        text = f"cat{n} the {n} " + "x" * 100
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer._ids_of) < 30
        assert max(map(len, tokenizer._ids_of)) < 70


def test_end_of_text_is_an_id_with_a_name(trained: Tokenizer) -> None:
    assert trained.eot_id == trained.vocab_size - 1
    assert trained.decode([trained.eot_id]) == "<|endoftext|>"
    assert trained.decode(trained.encode("<|endoftext|>")) == "<|endoftext|>"


@pytest.mark.parametrize("bad", [-1, 330, 10**9])
def test_ids_beyond_the_vocabulary_are_named(trained: Tokenizer, bad: int) -> None:
    with pytest.raises(DataError, match=f"token id {bad} .*\n.*0 to {trained.vocab_size - 1}"):
        trained.decode([0, bad])


def test_copies_and_worker_processes_get_the_same_tokenizer(trained: Tokenizer) -> None:
    for twin in (copy.deepcopy(trained), pickle.loads(pickle.dumps(trained))):  # noqa: S301
        assert twin.encode(TEXT) == trained.encode(TEXT)
        assert twin.fingerprint == trained.fingerprint


@given(text=ANY_TEXT)
def test_streaming_shows_whole_characters_and_loses_nothing(trained: Tokenizer, text: str) -> None:
    stream = StreamDecoder(trained)
    shown = ""
    for token in trained.encode(text):
        shown += stream.push(token)
        assert text.startswith(shown)
    assert shown == text
    assert stream.flush() == ""


@given(data=st.binary(max_size=60))
def test_streaming_broken_bytes_equals_decoding_them(trained: Tokenizer, data: bytes) -> None:
    ids = [trained._bpe.vocab[byte_to_char()[byte]] for byte in data]
    stream = StreamDecoder(trained)
    assert "".join(map(stream.push, ids)) + stream.flush() == trained.decode(ids)


def test_a_cut_character_is_held_back_and_flushed(trained: Tokenizer) -> None:
    stream = StreamDecoder(trained)
    ids = [trained._bpe.vocab[byte_to_char()[byte]] for byte in "é".encode()]
    assert stream.push(ids[0]) == ""
    assert stream.flush() == "\ufffd"
    assert stream.push(ids[0]) + stream.push(ids[1]) == "é"


ALPHABET = {char: i for i, char in enumerate(byte_to_char().values())}
EOT = {"<|endoftext|>": 256}


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        (ALPHABET, [], "no <|endoftext|>"),
        ({k: v for k, v in (ALPHABET | EOT).items() if k != "A"}, [], "lacks byte 0x41"),
        (ALPHABET | {"<|endoftext|>": 300}, [], "gaps or repeat"),
        (ALPHABET | {"<|endoftext|>": 3}, [], "gaps or repeat"),
        (ALPHABET | EOT | {"漢": 257}, [], "byte alphabet"),
        (ALPHABET | EOT | {"": 257}, [], "byte alphabet"),
        (ALPHABET | EOT, [("a", "b")], "'a' \\+ 'b' is not of known tokens"),
        (ALPHABET | EOT | {"ab": 257}, [("a", "b"), ("a", "b")], "stands twice"),
        (ALPHABET | EOT | {"<|endoftext|": 257}, [("<|endoftext|", ">")], "makes <|endoftext|> out of text"),
    ],
)
def test_impossible_tables_are_refused(
    vocab: dict[str, int], merges: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        Tokenizer(BPE(vocab, merges))
