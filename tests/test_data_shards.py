"""Shards: readable by others, and damaged ones refused with the reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_helpers import content, prepared, shards_of, texts, tokenizer

from neogpt import atomic
from neogpt.data.shards import TokenData
from neogpt.data.verify import verify
from neogpt.errors import DataError


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("good"))


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy"))


def test_a_shard_is_a_data_file_of_llm_c(good: Path) -> None:
    """Read as llm.c's dataloader.h reads it: 256 int32 of header, then ntok uint16, and nothing more."""
    for path in sorted(good.glob("*.bin")):
        raw = path.read_bytes()
        header = np.frombuffer(raw[:1024], "<i4")
        assert header[:2].tolist() == [20240520, 1]
        assert len(raw) == 1024 + 2 * int(header[2])
        assert np.frombuffer(raw[1024:], "<u2").max() < tokenizer().vocab_size


def test_every_document_is_there_once_and_whole(good: Path) -> None:
    tok = tokenizer()
    expected = sorted([tok.eot_id, *tok.encode(text)] for text in texts(120))
    found = []
    for split in ("train", "val"):
        data = TokenData(good, split)
        assert (data.read(0, data.n_tokens)[data.document_starts] == tok.eot_id).all()
        found += [data.document(i).tolist() for i in range(data.n_documents)]
    assert sorted(found) == expected
    assert len(TokenData(good).shards) > 3


def test_document_starts_are_where_end_of_text_stands(good: Path) -> None:
    data = TokenData(good)
    stream = data.read(0, data.n_tokens)
    assert np.array_equal(np.flatnonzero(stream == data.eot_id), data.document_starts)
    assert data.n_tokens == len(stream)
    assert data.vocab_size == tokenizer().vocab_size


def test_read_is_a_circle_over_all_shards(good: Path) -> None:
    data = TokenData(good)
    whole = np.concatenate([np.asarray(shard.tokens) for shard in data.shards]).astype(np.int64)
    twice = np.concatenate([whole, whole, whole])
    for start, length in [(0, 1), (499, 30), (len(whole) - 3, 10), (5, 2 * len(whole))]:
        assert np.array_equal(data.read(start, length), twice[start : start + length])


def test_no_document_is_cut_and_no_shard_is_too_large(good: Path) -> None:
    for shard in TokenData(good).shards:
        assert shard.tokens[0] == tokenizer().eot_id
        assert len(shard.tokens) <= 500


def test_the_fingerprint_is_of_the_content(good: Path, folder: Path, tmp_path: Path) -> None:
    assert TokenData(good).fingerprint == TokenData(folder).fingerprint
    assert TokenData(good).fingerprint != TokenData(good, "val").fingerprint
    assert TokenData(good).fingerprint != TokenData(prepared(tmp_path, shuffle_seed=1)).fingerprint


def open_both(folder: Path) -> list[TokenData]:
    return [TokenData(folder, split) for split in ("train", "val")]


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def change(path: Path, offset: int, data: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(data)] = data
    path.write_bytes(bytes(raw))


def swap(a: Path, b: Path) -> None:
    for suffix in (".bin", ".idx"):
        x, y = a.with_suffix(suffix).read_bytes(), b.with_suffix(suffix).read_bytes()
        a.with_suffix(suffix).write_bytes(y)
        b.with_suffix(suffix).write_bytes(x)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: cut(f / "train-00001.bin", 2), "train-00001.bin has .* bytes"),
    "truncated header": (
        lambda f: (f / "train-00001.bin").write_bytes(b"\0" * 99),
        "cut off inside its header",
    ),
    "empty": (lambda f: (f / "train-00000.bin").write_bytes(b""), "cut off inside its header"),
    "too long": (lambda f: change(f / "val-00000.bin", 10**9, b"xx"), "val-00000.bin has .* bytes"),
    "borders truncated": (lambda f: cut(f / "train-00000.idx", 8), "train-00000.idx has .* bytes"),
    "wrong magic": (lambda f: change(f / "train-00000.bin", 0, b"\x93NUMPY"), "wrong magic number"),
    "other llm.c file": (lambda f: change(f / "train-00000.bin", 12, b"\0" * 8), "wrong magic number"),
    "other version": (lambda f: change(f / "train-00000.bin", 4, b"\2"), "version 2.1"),
    "missing": (lambda f: (f / "train-00002.bin").unlink(), "train-00002.bin is missing"),
    "borders missing": (lambda f: (f / "train-00002.idx").unlink(), "train-00002.idx is missing"),
    "reordered": (lambda f: swap(f / "train-00000.bin", f / "train-00001.bin"), "it says train shard 1"),
    "other split": (lambda f: swap(f / "train-00000.bin", f / "val-00000.bin"), "it says val shard 0"),
    "other tokenizer": (lambda f: change(f / "train-00000.bin", 60, b"\1\2\3"), "tokenizer 010203"),
    "no info": (lambda f: (f / "dataset.json").unlink(), "not a prepared data set"),
    "info damaged": (lambda f: cut(f / "dataset.json", 30), "dataset.json is damaged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_named_when_the_data_is_opened(folder: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        open_both(folder)
    assert error.value.exit_code == 3
    with pytest.raises(DataError):
        verify(folder)


def test_reordered_shards_of_equal_size_are_told_apart_by_their_number(tmp_path: Path) -> None:
    folder = shards_of(tmp_path / "d", [[[0, 1, 2]], [[0, 3, 4]]])
    swap(folder / "train-00000.bin", folder / "train-00001.bin")
    with pytest.raises(DataError, match=r"train-00000\.bin is not the shard .* it says train shard 1"):
        TokenData(folder)


def test_verify_accepts_what_prepare_wrote(good: Path) -> None:
    found = verify(good)
    assert found["train"]["documents"] + found["val"]["documents"] == 120


@pytest.mark.parametrize("seed", range(12))
def test_any_flipped_bit_is_found(folder: Path, seed: int) -> None:
    dice = np.random.default_rng(seed)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != atomic.MANIFEST)
    path = files[seed % len(files)]
    place, bit = int(dice.integers(path.stat().st_size)), 1 << int(dice.integers(8))
    change(path, place, bytes([path.read_bytes()[place] ^ bit]))
    with pytest.raises(DataError):
        verify(folder)


def test_an_id_beyond_the_vocabulary_is_named_with_shard_and_offset(folder: Path) -> None:
    change(folder / "train-00001.bin", 1024 + 2 * 33, b"\xff\xff")
    data = TokenData(folder)
    start = data.shards[0].header.n_tokens
    data.read(start, 33)
    with pytest.raises(DataError, match=r"train-00001.bin holds token id 65535 at offset 33") as error:
        data.read(start - 5, 60)
    assert error.value.exit_code == 3


def test_verify_looks_at_ids_and_borders_even_under_a_right_manifest(tmp_path: Path) -> None:
    bad_id = shards_of(tmp_path / "a", [[[0, 1, 2], [0, 77]]], vocab_size=77)
    with pytest.raises(DataError, match="token id 77 at offset 4"):
        verify(bad_id)
    no_border = shards_of(tmp_path / "b", [[[0, 1, 2], [3, 4]]])
    with pytest.raises(DataError, match=r"do not start where its \.idx says"):
        verify(no_border)
    border_inside = shards_of(tmp_path / "c", [[[0, 1, 0, 2], [0, 4]]])
    with pytest.raises(DataError, match=r"do not start where its \.idx says"):
        verify(border_inside)


def test_an_absent_split_says_what_to_set(tmp_path: Path) -> None:
    folder = prepared(tmp_path, val_fraction=0.0)
    assert TokenData(folder).n_documents == 120
    with pytest.raises(DataError, match=r"no val documents \(all 120 are in train\)") as error:
        TokenData(folder, "val")
    assert "--data.val-fraction" in str(error.value)


def test_opening_reads_no_tokens(good: Path) -> None:
    """Maps, not copies: 10 billion tokens must open at once."""
    data = TokenData(good)
    assert all(not shard.tokens.flags.owndata for shard in data.shards)
    assert "document_starts" not in vars(data)


def test_info_lists_settings_inputs_and_counts(good: Path) -> None:
    info = json.loads((good / "dataset.json").read_text())
    assert info["inputs"][0]["name"] == "texts.jsonl"
    assert info["settings"]["data"]["shard_tokens"] == 500
    assert sum(info["splits"][s]["documents"] for s in ("train", "val")) == 120
    assert set(content(good)) >= {"dataset.json", "MANIFEST.json", "tokenizer/tokenizer.json"}
