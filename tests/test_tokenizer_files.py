"""What is saved: transformers reads it to the same ids, the bytes are canonical, damage is named."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizer_reference as reference
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt.errors import DataError
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.files import to_json
from neogpt.tokenizer.tables import BPE

TEXT = "the cat's mat, the rat's hat: 12 flat bats at 120 élan 😀😀 that's that\n\n"


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return Tokenizer.train([TEXT] * 3, 330, whole_words=["Kelom"])


@pytest.fixture(scope="module", params=["gpt2", "trained"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Path]:
    """A tokenizer of each kind and the folder it was saved to."""
    if request.param == "gpt2":
        tokenizer = Tokenizer.gpt2(request.getfixturevalue("real_data") / "tokenizer")
    else:
        tokenizer = request.getfixturevalue("trained")
    folder = tmp_path_factory.mktemp("saved") / "new" / "folder"
    tokenizer.save(folder, n_positions=128)
    return tokenizer, folder


@cache
def hf(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_transformers_loads_the_same_ids(saved: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = saved
    theirs = hf(folder)
    for text in reference.NASTY:
        ids = tokenizer.encode(text)
        assert theirs(text, split_special_tokens=True)["input_ids"] == ids
        if "<|endoftext|>" not in text:
            assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == tokenizer.decode(ids) == text


def test_transformers_sees_the_same_facts(saved: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = saved
    theirs = hf(folder)
    assert len(theirs) == theirs.vocab_size == tokenizer.vocab_size
    assert theirs.bos_token_id == theirs.eos_token_id == theirs.unk_token_id == tokenizer.eot_id
    assert theirs.eos_token == "<|endoftext|>"
    assert theirs.pad_token is None
    assert theirs.model_max_length == 128
    assert theirs.decode([tokenizer.eot_id]) == tokenizer.decode([tokenizer.eot_id]) == "<|endoftext|>"
    assert theirs.decode([tokenizer.eot_id], skip_special_tokens=True) == ""


def test_transformers_makes_special_text_special_and_we_never_do(saved: tuple[Tokenizer, Path]) -> None:
    """The difference that the documentation states; `split_special_tokens` removes it."""
    tokenizer, folder = saved
    text = "a<|endoftext|>b"
    assert tokenizer.eot_id in hf(folder)(text)["input_ids"]
    assert tokenizer.eot_id not in tokenizer.encode(text)


def test_the_tokenizers_library_loads_the_same_ids(saved: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = saved
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    assert theirs.encode(TEXT).ids == tokenizer.encode(TEXT)
    assert theirs.decode(tokenizer.encode(TEXT)) == TEXT


def test_what_transformers_saves_is_the_same_tokenizer(saved: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer, folder = saved
    hf(folder).save_pretrained(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").fingerprint == tokenizer.fingerprint


@settings(max_examples=100)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_has_the_same_ids_in_the_tokenizers_library(trained: Tokenizer, text: str) -> None:
    theirs = tokenizers.Tokenizer.from_str(_json_of(trained))
    theirs.encode_special_tokens = True
    assert theirs.encode(text).ids == trained.encode(text)


def _json_of(tokenizer: Tokenizer) -> str:
    return to_json(tokenizer._bpe)


def test_saving_and_loading_is_the_identity(saved: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer, folder = saved
    loaded = Tokenizer.load(folder)
    assert (
        loaded.fingerprint == tokenizer.fingerprint == Tokenizer.load(folder / "tokenizer.json").fingerprint
    )
    assert (loaded.vocab_size, loaded.eot_id) == (tokenizer.vocab_size, tokenizer.eot_id)
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    loaded.save(tmp_path / "again", n_positions=128)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_fingerprint_is_the_files_sha256(saved: tuple[Tokenizer, Path]) -> None:
    from neogpt.atomic import sha256_file

    tokenizer, folder = saved
    assert sha256_file(folder / "tokenizer.json") == tokenizer.fingerprint


def test_the_order_of_the_tables_does_not_matter(trained: Tokenizer) -> None:
    vocab = dict(sorted(trained._bpe.vocab.items()))
    assert Tokenizer(BPE(vocab, trained._bpe.merges)).fingerprint == trained.fingerprint


def test_different_tokenizers_have_different_fingerprints() -> None:
    found = {Tokenizer.train([TEXT], size).fingerprint for size in range(257, 267)}
    assert len(found) == 10


def test_gpt2_is_what_openai_published(real_data: Path) -> None:
    tokenizer = Tokenizer.gpt2(real_data / "tokenizer")
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (50257, 50256)
    assert tokenizer.encode("Hello, I'm a language model,") == [15496, 11, 314, 1101, 257, 3303, 2746, 11]
    assert tokenizer.fingerprint.startswith("a8de17639cdc")


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_a_vocabulary_and_its_merges_load_too(
    trained: Tokenizer, tmp_path: Path, names: tuple[str, str]
) -> None:
    (tmp_path / names[0]).write_text(json.dumps(trained._bpe.vocab))
    lines = [f"{left} {right}" for left, right in trained._bpe.merges]
    (tmp_path / names[1]).write_text("\n".join(["#version: 0.2", *lines, ""]))
    assert Tokenizer.load(tmp_path).fingerprint == trained.fingerprint


def test_merges_may_be_pairs_as_newer_files_have_them(trained: Tokenizer, tmp_path: Path) -> None:
    content = json.loads(_json_of(trained))
    content["model"]["merges"] = [merge.split(" ") for merge in content["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert Tokenizer.load(tmp_path).fingerprint == trained.fingerprint


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("model", "type", value="WordPiece"), "not BPE"),
        (_set("model", value=[]), "not BPE"),
        (_set("pre_tokenizer", value=None), "not split as GPT-2"),
        (_set("pre_tokenizer", value={"type": "Metaspace"}), "not split as GPT-2"),
        (_set("pre_tokenizer", "use_regex", value=False), "not split as GPT-2"),
        (_set("pre_tokenizer", "add_prefix_space", value=True), "puts a space before"),
        (_set("normalizer", value={"type": "NFC"}), "changes the text"),
        (_set("model", "dropout", value=0.1), "dropout"),
        (_set("model", "ignore_merges", value=True), "ignore_merges"),
        (_set("added_tokens", value=[{"content": "<s>", "id": 3}]), "special tokens are not"),
        (_set("added_tokens", value=[]), "special tokens are not"),
        (_set("model", "merges", value=[["a"]]), "damaged"),
        (_set("model", "merges", value=["a b c"]), "damaged"),
        (_set("model", "merges", value=None), "damaged"),
        (_set("model", "merges", value=["q q"]), "not of known tokens"),
        (_set("model", "vocab", value={"a": 0}), "no <|endoftext|>"),
        (_set("model", "vocab", value={"<|endoftext|>": 0}), "lacks byte"),
        (_set("model", "vocab", value=3), "damaged"),
    ],
)
def test_other_kinds_and_damaged_files_are_refused(
    trained: Tokenizer, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = json.loads(_json_of(trained))
    change(content)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"\x80\x04\x95pickle"])
def test_files_that_are_no_json_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged|not UTF-8"):
        Tokenizer.load(tmp_path)


def test_a_missing_tokenizer_says_what_to_type(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "tokenizer.json"):
        with pytest.raises(DataError, match=r"cannot read .*\n.*\n.*neogpt tokenizer train"):
            Tokenizer.load(path)


@pytest.mark.parametrize("line", ["a", "a b c", "a  b", " a", "a "])
def test_broken_merge_lines_are_named(trained: Tokenizer, tmp_path: Path, line: str) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(trained._bpe.vocab))
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\nt h\n{line}\n")
    with pytest.raises(DataError, match=r"merges.txt, line 3"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": "b"}')
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(DataError, match="not a vocabulary"):
        Tokenizer.load(tmp_path)
