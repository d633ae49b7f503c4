"""Shards that were damaged after they were prepared, as a training run finds them; a vocabulary that does not fit."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from data_helpers import content, texts, tokenizer, write_jsonl

from neogpt import atomic
from neogpt.config import AnyRun, BatchConfig, DataConfig, GPT2Config
from neogpt.data.shard_file import HEADER_BYTES
from neogpt.data.sources import jsonl
from neogpt.errors import CheckpointError, DataError
from neogpt.model import GPT2, save_pretrained
from neogpt.objectives import pretrain
from neogpt.objectives.pretrain.objective import Pretrain
from neogpt.recipes import laptop
from neogpt.tokenizer import Tokenizer
from neogpt.train.setup import _starting_point


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnyRun:
    """A run over a few hundred short texts in several shards, with a cache of its own."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))
    return dataclasses.replace(
        laptop.pretrain(),
        source=jsonl.Jsonl(path=str(write_jsonl(tmp_path / "texts.jsonl", texts(200)))),
        data=DataConfig(val_fraction=0.1, shard_tokens=1500),
        objective=pretrain.Config(seq_len=16),
        batch=BatchConfig(size=64, micro_batches=1),
    )


def read_all(run: AnyRun) -> Pretrain:
    """Read every sample of an epoch once."""
    objective = Pretrain(run, tokenizer(), 32)
    for step in range(-(-objective.n_samples // run.batch.size)):
        objective.batch(step, 0)
    return objective


@pytest.fixture
def folder(run: AnyRun, tmp_path: Path) -> Path:
    """The prepared data of the run."""
    read_all(run)
    (found,) = (tmp_path / "home" / "data").glob("jsonl-*[0-9a-f]")
    assert len(list(found.glob("train-*.bin"))) > 2
    return found


def cut_off(folder: Path) -> None:
    os.truncate(folder / "train-00001.bin", HEADER_BYTES + 100)


def missing(folder: Path) -> None:
    (folder / "train-00001.idx").unlink()


def torn(folder: Path) -> None:
    (folder / "MANIFEST.json").write_text("{")


def reordered(folder: Path) -> None:
    first, second = folder / "train-00000.bin", folder / "train-00001.bin"
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)


@pytest.mark.parametrize("fault", [cut_off, missing, torn, reordered])
def test_a_folder_that_is_visibly_not_whole_is_made_again(run: AnyRun, folder: Path, fault) -> None:  # type: ignore[no-untyped-def]
    before, expected = content(folder), Pretrain(run, tokenizer(), 32).data_hash
    fault(folder)
    assert content(folder) != before
    assert read_all(run).data_hash == expected
    assert content(folder) == before


def test_an_id_beyond_the_vocabulary_ends_the_run_with_its_place(run: AnyRun, folder: Path) -> None:
    with open(folder / "train-00001.bin", "r+b") as file:
        file.seek(HEADER_BYTES + 2 * 70)
        file.write(np.uint16(60000).tobytes())
    with pytest.raises(DataError, match=r"train-00001\.bin holds token id 60000 at offset 70") as error:
        read_all(run)
    assert "neogpt data verify" in str(error.value)


def test_a_header_of_another_tokenizer_is_refused(run: AnyRun, folder: Path) -> None:
    path = folder / "train-00001.bin"
    data = bytearray(path.read_bytes())
    place = data.index(bytes.fromhex(tokenizer().fingerprint))
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"is not the shard that dataset\.json lists: it says .*tokenizer"):
        read_all(run)


def test_a_tokenizer_larger_than_its_model_is_refused(run: AnyRun, tmp_path: Path) -> None:
    shape = GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=16, vocab_size=50)
    save_pretrained(GPT2(shape, 0), tmp_path / "model")
    tokenizer().save(tmp_path / "model")
    ids = tokenizer().vocab_size
    with pytest.raises(CheckpointError, match=rf"its tokenizer has {ids} ids and its model 50"):
        _starting_point(dataclasses.replace(run, init_from=str(tmp_path / "model")))


END = tokenizer().eot_id
FITTING = {
    "its own": (0, END),
    "padded": (64, END),
    "several": (0, [END, 3]),
    "none": (0, None),
    "a default": (0, 50256),
}
OTHERS = {
    "another end": (0, END - 1, rf"end-of-text is {END} in its tokenizer and {END - 1} in its config"),
    "other ends": (0, [3, END - 1], "end-of-text is"),
    "far smaller": (1100, END, "its tokenizer has"),
}


@pytest.mark.parametrize("stage", ["sft", "dpo", "rl"])
@pytest.mark.parametrize("name", [*FITTING, *OTHERS])
def test_a_tokenizer_that_is_not_the_models_is_refused(
    run: AnyRun, tmp_path: Path, stage: str, name: str
) -> None:
    """One with fewer ids, or as many, would train on noise without a word."""
    more, ends, *message = {**FITTING, **OTHERS}[name]
    shape = GPT2Config(
        n_layer=1, n_head=1, n_embd=8, n_positions=16, vocab_size=tokenizer().vocab_size + more
    )
    save_pretrained(GPT2(shape, 0), tmp_path)
    tokenizer().save(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**facts, "eos_token_id": ends}))
    begun = dataclasses.replace(run, stage=stage, init_from=str(tmp_path))
    if message:
        with pytest.raises(CheckpointError, match=message[0]):
            _starting_point(begun)
    else:
        assert _starting_point(begun)[1].fingerprint == tokenizer().fingerprint


def test_another_tokenizer_in_a_checkpoint_is_noticed_whatever_its_size(run: AnyRun, tmp_path: Path) -> None:
    shape = GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=16, vocab_size=300)
    ours, other = (Tokenizer.train([text * 9], 258) for text in ("ab", "cd"))
    with atomic.directory(tmp_path / "model") as folder:
        save_pretrained(GPT2(shape, 0), folder, ours.eot_id)
        ours.save(folder)
    other.save(tmp_path / "model")
    assert (other.vocab_size, other.eot_id) == (ours.vocab_size, ours.eot_id)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        _starting_point(dataclasses.replace(run, init_from=str(tmp_path / "model")))


def test_a_horizon_beyond_the_data_repeats_it_evenly(run: AnyRun) -> None:
    """Nothing is refused: in three epochs every sample comes three times."""
    objective = Pretrain(run, tokenizer(), 32)
    n = objective.n_samples
    small = dataclasses.replace(run, batch=BatchConfig(size=3 * n, micro_batches=1))
    rows = Pretrain(small, tokenizer(), 32).batch(0, 0).tokens
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert rows.shape[0] == 3 * n
    assert (counts % 3 == 0).all()
