"""A prepared data set: token shards of two splits, opened from disk without reading them.

    FOLDER/  dataset.json   settings, inputs, counts       train-00000.bin .idx ...   val-00000.bin .idx ...
             tokenizer/     the tokenizer that made it     MANIFEST.json  size and sha256 of every file

A document is its end-of-text token followed by its text's tokens, so that token also marks the borders.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from neogpt import atomic
from neogpt.data.shard_file import REDO, Shard, open_shard
from neogpt.errors import DataError

INFO = "dataset.json"
SPLITS = ("train", "val")


def read_info(folder: Path) -> dict[str, Any]:
    """The folder's dataset.json; DataError when the folder is not a prepared data set."""
    try:
        info = json.loads((Path(folder) / INFO).read_text("utf-8"))
        info["splits"], info["tokenizer"]["fingerprint"], info["key"]
    except FileNotFoundError:
        raise DataError(
            f"{folder} is not a prepared data set (no {INFO})",
            "a folder of shards",
            REDO,
            code="data.not_prepared",
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{Path(folder) / INFO} is damaged", "JSON as prepare writes it", REDO, code="data.damaged_info"
        ) from None
    return info


class TokenData:
    """One split's tokens as a single stream, mapped from disk.

    `fingerprint` is the sha256 (hex) of the split's content. Opening checks headers and sizes, `verify` every
    byte.
    """

    def __init__(self, folder: Path | str, split: str = "train") -> None:
        self.folder, self.split = Path(folder), split
        info = read_info(self.folder)
        self.shards = _open_split(self.folder, split, info)
        if not self.shards:
            raise _no_documents(split, info)
        header = self.shards[0].header
        self.vocab_size, self.eot_id = header.vocab_size, header.eot_id
        self._starts = np.cumsum([0] + [shard.header.n_tokens for shard in self.shards])
        self.n_tokens = int(self._starts[-1])
        self.n_documents = sum(shard.header.n_documents for shard in self.shards)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) over the tokenizer's fingerprint and the sums of this split's files."""
        files = atomic.read_manifest(self.folder)
        sums = [files[shard.path.name][1] for shard in self.shards]
        return hashlib.sha256("\n".join([self.shards[0].header.fingerprint, *sums]).encode()).hexdigest()

    @cached_property
    def document_starts(self) -> np.ndarray:
        """Position of each document's first token in the stream, int64 (n_documents,)."""
        parts = [shard.starts + start for shard, start in zip(self.shards, self._starts[:-1], strict=True)]
        return np.concatenate(parts)

    def document(self, number: int) -> np.ndarray:
        """The tokens of one document, int64, beginning with end-of-text."""
        ends = np.append(self.document_starts[number + 1 : number + 2], self.n_tokens)
        start = int(self.document_starts[number])
        return self.read(start, int(ends[0]) - start)

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from `start`, int64; past the end the stream begins again."""
        return self.rows(np.array([start]), length)[0]

    def rows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """A row of tokens from each start in [0, n_tokens), read as a circle: int64 (len(starts), length).

        Errors: DataError, naming the shard and the offset, for an id beyond the vocabulary.
        """
        out = np.empty((len(starts), length), np.int64)
        first = np.searchsorted(self._starts, starts, side="right") - 1
        offsets = starts - self._starts[first]
        for row, shard, offset in zip(out, first.tolist(), offsets.tolist(), strict=True):
            piece = self.shards[shard].tokens[offset : offset + length]
            if len(piece) == length:
                row[:] = piece
            else:
                self._fill(row, shard, offset)
        if out.size and out.max() >= self.vocab_size:
            self._raise_bad_id(int(starts[(out >= self.vocab_size).any(1).argmax()]), length)
        return out

    def _fill(self, row: np.ndarray, shard: int, offset: int) -> None:
        """Fill a row that crosses the ends of shards, or of the stream."""
        done = 0
        while done < len(row):
            piece = self.shards[shard].tokens[offset : offset + len(row) - done]
            row[done : done + len(piece)] = piece
            done, offset, shard = done + len(piece), 0, (shard + 1) % len(self.shards)

    def _raise_bad_id(self, start: int, length: int) -> None:
        for position in range(start, start + length):
            number = int(np.searchsorted(self._starts, position % self.n_tokens, side="right")) - 1
            shard, offset = self.shards[number], position % self.n_tokens - int(self._starts[number])
            check_ids(shard, offset, 1)


def check_ids(shard: Shard, offset: int, length: int) -> None:
    """Raise DataError, naming the offset in tokens, when a shard holds an id beyond its vocabulary there."""
    bad = np.flatnonzero(shard.tokens[offset : offset + length] >= shard.header.vocab_size)
    if len(bad):
        place = offset + int(bad[0])
        raise DataError(
            f"{shard.path} holds token id {int(shard.tokens[place])} at offset {place}",
            f"ids below the vocabulary's {shard.header.vocab_size}",
            f"`neogpt data verify {shard.path.parent}`, then {REDO}",
            code="data.bad_token_id",
        )


def _open_split(folder: Path, split: str, info: dict[str, Any]) -> list[Shard]:
    """The split's shards in order, each checked against dataset.json."""
    assert split in SPLITS
    shards = []
    for number, entry in enumerate(info["splits"][split]["shards"]):
        shard = open_shard(folder / entry["file"])
        header = shard.header
        found = (header.split, header.number, header.n_tokens, header.n_documents, header.fingerprint)
        wanted = (split, number, entry["tokens"], entry["documents"], info["tokenizer"]["fingerprint"])
        if found != wanted:
            raise DataError(
                f"{shard.path} is not the shard that {INFO} lists: it says {_describe(found)}",
                _describe(wanted),
                REDO,
                code="data.wrong_shard",
            )
        shards.append(shard)
    return shards


def _describe(facts: tuple[str, int, int, int, str]) -> str:
    split, number, tokens, documents, fingerprint = facts
    return f"{split} shard {number}, {tokens:,} tokens, {documents:,} documents, tokenizer {fingerprint[:12]}"


def _no_documents(split: str, info: dict[str, Any]) -> DataError:
    other = "val" if split == "train" else "train"
    documents = info["splits"][other]["documents"]
    return DataError(
        f"the data set has no {split} documents (all {documents:,} are in {other})",
        "at least one",
        "prepare it with another --data.val-fraction",
        code="data.no_documents",
    )
