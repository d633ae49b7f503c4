"""One shard: a header, uint16 tokens, and the borders of its documents in a file beside it.

`NAME.bin` is 1,024 bytes of header and then the token ids, little-endian uint16. It is also a valid data file
of llm.c (magic 20240520, version 1): what only we need stands in words that llm.c leaves unused. `NAME.idx`
holds the position of each document's first token (its end-of-text), little-endian int64.
"""

import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np

from neogpt.errors import DataError

HEADER_BYTES = 1024
MAX_TOKENS = 2**31 - 1
MAX_VOCAB = 2**16
_MAGIC, _VERSION, _MARK, _OURS = 20240520, 1, b"NeoGPT\0\0", 1
_LAYOUT = struct.Struct("<iii8siqiii16s32s")


class Header(NamedTuple):
    """What a shard says about itself; the fingerprint is the tokenizer's (sha256, hex)."""

    n_tokens: int
    n_documents: int
    vocab_size: int
    eot_id: int
    number: int
    split: str
    fingerprint: str

    def pack(self) -> bytes:
        """The header's 1,024 bytes."""
        head = (_MAGIC, _VERSION, self.n_tokens, _MARK, _OURS, self.n_documents, self.vocab_size, self.eot_id)
        data = _LAYOUT.pack(*head, self.number, self.split.encode(), bytes.fromhex(self.fingerprint))
        return data.ljust(HEADER_BYTES, b"\0")

    @classmethod
    def unpack(cls, data: bytes, path: Path) -> Self:
        """The header in a file's first bytes; DataError when they are not one."""
        if len(data) < HEADER_BYTES:
            raise DataError(
                f"{path} is cut off inside its header",
                f"at least {HEADER_BYTES} bytes",
                REDO,
                code="data.damaged_shard",
            )
        magic, version, n_tokens, mark, ours, n_documents, vocab_size, eot_id, number, split, print_ = (
            _LAYOUT.unpack(data[: _LAYOUT.size])
        )
        if (magic, mark) != (_MAGIC, _MARK):
            raise DataError(
                f"{path} is not a NeoGPT token shard (wrong magic number)",
                "a shard",
                REDO,
                code="data.damaged_shard",
            )
        if (version, ours) != (_VERSION, _OURS):
            raise DataError(
                f"{path} has format version {version}.{ours}",
                f"{_VERSION}.{_OURS}",
                REDO,
                code="data.other_version",
            )
        name = split.rstrip(b"\0").decode("ascii", "replace")
        return cls(n_tokens, n_documents, vocab_size, eot_id, number, name, print_.hex())


REDO = "prepare the data again with `neogpt data prepare`"


@dataclass(frozen=True)
class Shard:
    """An open shard: tokens uint16 (n_tokens,) and document starts int64 (n_documents,), mapped from disk."""

    path: Path
    header: Header
    tokens: np.ndarray
    starts: np.ndarray


def open_shard(path: Path) -> Shard:
    """Map a shard; DataError when a file is missing, cut off, too long or not a shard."""
    try:
        with open(path, "rb") as file:
            header = Header.unpack(file.read(HEADER_BYTES), path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing", "a token shard", REDO, code="data.missing_shard") from None
    tokens = _map(path, "<u2", HEADER_BYTES, header.n_tokens)
    return Shard(path, header, tokens, _map(path.with_suffix(".idx"), "<i8", 0, header.n_documents))


def _map(path: Path, dtype: str, offset: int, count: int) -> np.ndarray:
    if not path.is_file():
        raise DataError(
            f"{path} is missing",
            f"{count} entries, as the shard's header says",
            REDO,
            code="data.missing_shard",
        )
    expected = offset + count * np.dtype(dtype).itemsize
    if (actual := path.stat().st_size) != expected:
        raise DataError(
            f"{path} has {actual} bytes",
            f"{expected} bytes, as the shard's header says",
            REDO,
            code="data.damaged_shard",
        )
    if count <= 0:
        return np.empty(0, dtype)
    # A plain array over the map: slicing a np.memmap costs ten times as much.
    return np.asarray(np.memmap(path, dtype, "r", offset, (count,)))


class ShardWriter:
    """Writes one shard, document by document; the header comes last. Whoever calls makes it atomic."""

    def __init__(self, path: Path, **facts: Any) -> None:
        """`facts` are the header's other fields: vocab_size, eot_id, number, split, fingerprint."""
        self.path, self._facts = path, facts
        self._lengths = array("q")
        self.n_tokens = 0
        self._file: BinaryIO = open(path, "wb", buffering=1 << 20)  # noqa: SIM115 (closed by __exit__)
        self._file.write(bytes(HEADER_BYTES))

    def add(self, tokens: np.ndarray) -> None:
        """Append one document's tokens (uint16), which begin with end-of-text."""
        self._lengths.append(len(tokens))
        self.n_tokens += len(tokens)
        self._file.write(np.ascontiguousarray(tokens, "<u2").data)

    @property
    def n_documents(self) -> int:
        return len(self._lengths)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                assert self.n_tokens <= MAX_TOKENS
                ends = np.cumsum(self._lengths, dtype="<i8")
                self._file.seek(0)
                self._file.write(Header(self.n_tokens, self.n_documents, **self._facts).pack())
                self.path.with_suffix(".idx").write_bytes((ends - self._lengths).astype("<i8").tobytes())


class ShardSeries:
    """Writes the documents of one split into `SPLIT-00000.bin`, `SPLIT-00001.bin`, ... of `max_tokens` at most.

    No document is cut: a shard ends before the document that would overfill it. `entries` lists what was
    written, as {"file", "tokens", "documents"}. `facts` are vocab_size, eot_id and fingerprint.
    """

    def __init__(self, folder: Path, split: str, max_tokens: int, facts: dict[str, Any]) -> None:
        self.folder, self.split, self.max_tokens, self.facts = folder, split, max_tokens, facts
        self.entries: list[dict[str, Any]] = []
        self._writer: ShardWriter | None = None

    def add(self, tokens: np.ndarray) -> None:
        """Append one document's tokens (uint16), which begin with end-of-text."""
        if self._writer and self._writer.n_tokens + len(tokens) > self.max_tokens:
            self._close()
        if not self._writer:
            number = len(self.entries)
            path = self.folder / f"{self.split}-{number:05d}.bin"
            self._writer = ShardWriter(path, number=number, split=self.split, **self.facts)
        self._writer.add(tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(kind)

    def _close(self, kind: type[BaseException] | None = None) -> None:
        if writer := self._writer:
            writer.__exit__(kind)
            counts = {"tokens": writer.n_tokens, "documents": writer.n_documents}
            self.entries.append({"file": writer.path.name, **counts})
            self._writer = None
