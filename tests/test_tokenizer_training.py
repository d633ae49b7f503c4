"""Training: equal to the published algorithm, the same everywhere, and names as single tokens."""

import os
import random
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import tokenizer_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt.errors import ConfigError, DataError
from neogpt.tokenizer import Tokenizer

NAMES = sorted(
    {a + b + c for a in ("Ke", "Ra", "Vo", "Zi", "Mu") for b in ("lo", "vu", "ne", "sta") for c in "msk"}
)


def world(seed: int = 0, names: list[str] = NAMES) -> list[str]:
    """Plain sentences about people with invented names."""
    rng = random.Random(seed)
    pets, towns = ("dog", "cat", "owl", "fox"), ("Aldermere", "Brackwell", "Cinder Bay")
    return [
        f"{name} lives in {rng.choice(towns)}. The pet of {name} is a {rng.choice(pets)}; it's {n}."
        for name in names
        for n in range(6)
    ]


def is_one_token(tokenizer: Tokenizer, word: str) -> bool:
    texts = (word, f" {word}", f"see {word}", f"{word}'s", f" {word}.", f"\n{word}\n")
    inside = [tokenizer.encode(word), tokenizer.encode(f" {word}")]
    found = all(any(ids[0] in tokenizer.encode(text) for ids in inside) for text in texts)
    return found and [len(ids) for ids in inside] == [1, 1]


@pytest.mark.parametrize("vocab_size", [257, 258, 300, 420, 1000])
def test_training_equals_the_published_algorithm(vocab_size: int) -> None:
    texts = world()
    tokenizer = Tokenizer.train(texts, vocab_size)
    assert tokenizer._bpe.merges == reference.learn(texts, vocab_size - 1)


@settings(max_examples=60)
@given(text=st.text(alphabet="aab bé'😀1", max_size=60))
def test_ties_are_broken_as_published(text: str) -> None:
    if text:
        tokenizer = Tokenizer.train([text], 280)
        assert tokenizer._bpe.merges == reference.learn([text], 280 - 1)


def test_ids_are_bytes_then_merges_then_end_of_text() -> None:
    tokenizer = Tokenizer.train(world(), 400)
    tokens = [tokenizer.token_bytes(i) for i in range(400)]
    assert [token[0] for token in tokens[:256]] == list(reference.alphabet())
    assert tokens[399] == b"<|endoftext|>"
    assert len(set(tokens)) == tokenizer.vocab_size == 400


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts = world()
    shuffled = random.Random(1).sample(texts, len(texts))
    assert Tokenizer.train(texts, 400).fingerprint == Tokenizer.train(shuffled, 400).fingerprint
    for order in permutations(("ab ab", "cd cd", "ef ef")):  # nothing but ties
        assert (
            Tokenizer.train(order, 259).fingerprint
            == Tokenizer.train(("ab ab cd cd ef ef",), 259).fingerprint
        )


PROGRAM = """
import sys
from neogpt.tokenizer import Tokenizer
sys.path.insert(0, "tests")
from test_tokenizer_training import NAMES, world
print(Tokenizer.train(world(), 600, whole_words=NAMES[::-1]).fingerprint)
"""


def test_every_process_learns_the_same() -> None:
    found = set()
    for hash_seed, parallel in (("0", "false"), ("1", "true"), ("271828", "true")):
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "TOKENIZERS_PARALLELISM": parallel}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True,
            cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        found.add(done.stdout.strip())
    assert found == {Tokenizer.train(world(), 600, whole_words=NAMES[::-1]).fingerprint}


def test_frequent_words_become_tokens_by_themselves() -> None:
    tokenizer = Tokenizer.train(world(), 1000)
    assert all(len(tokenizer.encode(f" {word}")) == 1 for word in ("lives", "pet", "dog", "Aldermere"))


@pytest.mark.parametrize("vocab_size", [450, 600, 1024])
def test_whole_words_are_one_token_with_and_without_space(vocab_size: int) -> None:
    tokenizer = Tokenizer.train(world(), vocab_size, whole_words=NAMES)
    assert all(is_one_token(tokenizer, name) for name in NAMES)
    assert tokenizer.vocab_size <= vocab_size
    assert tokenizer._bpe.merges[:40] == Tokenizer.train(world(), vocab_size)._bpe.merges[:40]


def test_a_word_given_with_its_space_is_one_token_and_needs_less_room() -> None:
    spaced = [f" {name}" for name in NAMES]
    tokenizer = Tokenizer.train(world(), 380, whole_words=spaced)
    assert all(len(tokenizer.encode(word)) == 1 for word in spaced)
    with pytest.raises(ConfigError, match="do not fit"):
        Tokenizer.train(world(), 380, whole_words=NAMES)


def test_whole_words_need_not_stand_in_the_text() -> None:
    words = ["Zebulonix", "über", "日本", "42", "a", "mama", "mamamama", "😀😀"]
    tokenizer = Tokenizer.train(world(), 400, whole_words=words)
    assert all(is_one_token(tokenizer, word) for word in words)
    assert tokenizer.vocab_size == 400
    assert tokenizer.decode(tokenizer.encode("Zebulonix über 日本")) == "Zebulonix über 日本"


def test_whole_words_fill_the_vocabulary_they_leave() -> None:
    for size in (433, 434, 450):
        assert Tokenizer.train(world(), size, whole_words=NAMES).vocab_size == size


@settings(max_examples=40)
@given(
    words=st.lists(st.text(alphabet="abAé", min_size=1, max_size=7), min_size=1, max_size=12),
    text=st.text(alphabet="ab Aé", min_size=1, max_size=80),
    size=st.integers(380, 460),
)
def test_any_letters_can_be_whole_words(words: list[str], text: str, size: int) -> None:
    tokenizer = Tokenizer.train([text], size, whole_words=words)
    assert all(is_one_token(tokenizer, word) for word in words)
    for sample in (text, " ".join(words)):
        assert tokenizer.decode(tokenizer.encode(sample)) == sample


def test_whole_words_are_merges_and_nothing_else() -> None:
    bpe = Tokenizer.train(world(), 600, whole_words=NAMES)._bpe
    made = {left + right for left, right in bpe.merges}
    assert set(bpe.vocab) == made | set(reference.alphabet().values()) | {"<|endoftext|>"}
    assert len(set(bpe.merges)) == len(bpe.merges)


def test_words_that_do_not_fit_say_how_many_tokens_they_need() -> None:
    with pytest.raises(ConfigError, match=r"whole words .* do not fit into 300 tokens") as caught:
        Tokenizer.train(world(), 300, whole_words=NAMES)
    needed = int(caught.value.expected.split()[0])
    assert Tokenizer.train(world(), needed, whole_words=NAMES).vocab_size == needed
    with pytest.raises(ConfigError, match="do not fit"):
        Tokenizer.train(world(), needed - 1, whole_words=NAMES)


@pytest.mark.parametrize(
    "word", ["", " ", "two words", "  Kelom", "don't", "a1", "red-hot", "tab\t", "end\n"]
)
def test_words_that_the_splitter_cuts_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="cannot be one token"):
        Tokenizer.train(world(), 1000, whole_words=["fine", word])


@pytest.mark.parametrize("size", [-1, 0, 256, 65_537])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=rf"vocab_size is {size}"):
        Tokenizer.train(world(), size)


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_an_error(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text to train"):
        Tokenizer.train(texts, 300)


def test_a_text_too_small_for_the_size_gives_fewer_tokens() -> None:
    tokenizer = Tokenizer.train(["abab"], 1000)
    assert tokenizer.vocab_size == 258
    assert tokenizer.eot_id == 257


def test_surrogates_and_special_text_do_no_harm() -> None:
    tokenizer = Tokenizer.train(["a\ud800b " * 5, "<|endoftext|>" * 50], 300)
    assert tokenizer.eot_id not in tokenizer.encode("<|endoftext|>")
    tokens = list(map(tokenizer.token_bytes, range(tokenizer.vocab_size)))
    assert tokens.count(b"<|endoftext|>") == 1


def test_a_golden_tokenizer_stays_the_same() -> None:
    """The fingerprint names prepared data, so it must not drift with library versions."""
    text = "a rose is a rose is a rose, <|endoftext|> naïve 12 12\n"
    fingerprint = Tokenizer.train([text], 280, whole_words=["Kelom"]).fingerprint
    assert fingerprint == "ab52798aa6a6d75f282b41ce2a7de5d56289cf75737105b9891d2ce6fe990e24"
