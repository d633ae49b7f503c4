"""What the tests of data share: a tiny tokenizer, texts, and shards written by hand."""

import functools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neogpt import atomic
from neogpt.config import DataConfig
from neogpt.data.prepare import prepare
from neogpt.data.shard_file import ShardWriter
from neogpt.data.sources import jsonl
from neogpt.tokenizer import Tokenizer

WORDS = "the small guard lives near a green hill and eats plum bread while rain falls on every roof".split()


@functools.cache
def tokenizer() -> Tokenizer:
    """A byte-level BPE of some 300 ids."""
    return Tokenizer.train(texts(200, seed=5), 300)


def texts(count: int, seed: int = 0) -> list[str]:
    """Different short texts of odd lengths."""
    dice = random.Random(seed)
    return [f"{i}: " + " ".join(dice.choices(WORDS, k=dice.randint(1, 40))) + "." for i in range(count)]


def write_jsonl(path: Path, rows: Sequence[str]) -> Path:
    """Texts as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


def prepared(folder: Path, count: int = 120, **options: object) -> Path:
    """A small prepared data set with several shards, in `folder`/out."""
    settings = DataConfig(**{"val_fraction": 0.1, "shard_tokens": 500, **options})  # type: ignore[arg-type]
    source = jsonl.Jsonl(path=str(write_jsonl(folder / "in" / "texts.jsonl", texts(count))))
    return prepare(source, settings, tokenizer(), folder / "out")


def shards_of(folder: Path, shards: Sequence[Sequence[Sequence[int]]], vocab_size: int = 65536) -> Path:
    """A data set whose train split has exactly these shards of documents of ids."""
    folder.mkdir(parents=True)
    facts = {"vocab_size": vocab_size, "eot_id": 0, "fingerprint": "ab" * 32, "split": "train"}
    entries = []
    for number, documents in enumerate(shards):
        path = folder / f"train-{number:05d}.bin"
        with ShardWriter(path, number=number, **facts) as writer:
            for document in documents:
                writer.add(np.array(document, np.uint16))
        entries.append({"file": path.name, "tokens": writer.n_tokens, "documents": len(documents)})
    empty: dict[str, object] = {"shards": [], "documents": 0, "tokens": 0}
    splits = {"train": {**empty, "shards": entries}, "val": empty}
    info = {"key": "k", "tokenizer": {"fingerprint": facts["fingerprint"]}, "splits": splits}
    atomic.write_json(folder / "dataset.json", info)
    atomic.write_manifest(folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
