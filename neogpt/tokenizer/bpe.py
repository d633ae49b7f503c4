"""Byte-level BPE as in GPT-2: any text becomes ids and comes back byte for byte.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
"""

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from neogpt.errors import DataError
from neogpt.tokenizer import files, gpt2_files, tables, training
from neogpt.tokenizer.alphabet import END_OF_TEXT, byte_to_char, from_bytes, to_bytes
from neogpt.tokenizer.words import split

_CACHED_WORDS = 2**18  # about 60 MB
_CACHED_LENGTH = 64


class Tokenizer:
    """Text to ids and back.

    Attributes: `vocab_size`; `eot_id`, the id of end-of-text; `fingerprint`, the sha256 (hex) of the
    tokenizer.json that `save` writes. No text ever encodes to `eot_id`: "<|endoftext|>" in a text is thirteen
    ordinary characters. (transformers, given the same text, makes it the special token unless called with
    `split_special_tokens=True`.)
    """

    def __init__(self, bpe: tables.BPE) -> None:
        _check(bpe)
        self._bpe = bpe
        self.vocab_size = len(bpe.vocab)
        self.eot_id = bpe.vocab[END_OF_TEXT]
        # The backend is not told of the special token: then no text can produce it, by construction.
        self._backend = Backend(models.BPE(vocab=bpe.vocab, merges=bpe.merges))
        self._backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._ids_of = _WordIds(self._backend)

    @classmethod
    def gpt2(cls, folder: str | Path | None = None) -> Self:
        """OpenAI's GPT-2 vocabulary of 50,257 tokens; see `gpt2_files.locate` for where it is looked for."""
        vocab, merges = gpt2_files.locate(Path(folder) if folder is not None else None)
        return cls(tables.BPE(tables.parse_vocab(vocab), tables.parse_merges(merges)))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The tokenizer in a folder (a model's or one of `save`) or in a tokenizer.json."""
        bpe = files.read(Path(path))
        try:
            return cls(bpe)
        except DataError as error:
            raise error.within(str(path)) from None

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, whole_words: Sequence[str] = ()) -> Self:
        """A tokenizer of at most `vocab_size` tokens learned from `texts`; see `training.train`."""
        return cls(training.train(map(_clean, texts), vocab_size, whole_words))

    def save(self, folder: str | Path, n_positions: int = 1024) -> None:
        """Write tokenizer.json and tokenizer_config.json, which transformers loads to the same ids."""
        files.write(Path(folder), self._bpe, n_positions)

    @property
    def bpe(self) -> files.BPE:
        """The vocabulary and its merges, for writers of other formats."""
        return self._bpe

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(files.to_json(self._bpe).encode()).hexdigest()

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def _bytes(self) -> list[bytes]:
        tokens = sorted(self._bpe.vocab, key=self._bpe.vocab.__getitem__)
        return [END_OF_TEXT.encode() if token == END_OF_TEXT else to_bytes(token) for token in tokens]

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, never `eot_id`; a lone surrogate becomes U+FFFD, as in tiktoken."""
        text = _clean(text)
        words = split(text)
        if words is None:
            return self._encode(text)
        if len(self._ids_of) > _CACHED_WORDS:
            self._ids_of.clear()
        return list(chain.from_iterable(map(self._ids_of.__getitem__, words)))

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of each text."""
        return [self.encode(text) for text in texts]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids stand for (end-of-text: its name); DataError beyond the vocabulary."""
        return b"".join(map(self.token_bytes, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text that the ids stand for; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token."""
        if not 0 <= token_id < self.vocab_size:
            raise DataError(
                f"token id {token_id} is not in the vocabulary",
                f"0 to {self.vocab_size - 1}",
                code="tokenizer.bad_token_id",
            )
        return self._bytes[token_id]

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """How many bytes of text each id stands for, int64 (vocab_size,); 0 for end-of-text, which is no text."""
        lengths = np.array([len(piece) for piece in self._bytes], np.int64)
        lengths[self.eot_id] = 0
        return lengths

    def __reduce__(self) -> tuple[type[Self], tuple[tables.BPE]]:
        # A worker process gets the tables and builds its own backend.
        return type(self), (self._bpe,)

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]})"


class StreamDecoder:
    """Ids to text one at a time, holding back bytes until their character is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes; "" while a character is still missing bytes."""
        return self._decoder.decode(self._token_bytes(token_id))

    def flush(self) -> str:
        """What the held-back bytes amount to (U+FFFD, or nothing) when no more will come; starts afresh."""
        return self._decoder.decode(b"", final=True)


class _WordIds(dict[str, Sequence[int]]):
    """Words to ids, filled on demand; long words are not kept."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._model = backend, backend.model

    def __missing__(self, word: str) -> Sequence[int]:
        if len(word) > _CACHED_LENGTH:
            long: list[int] = self._backend.encode(word, add_special_tokens=False).ids
            return long
        # The model alone takes half the time of the whole backend.
        ids = tuple(token.id for token in self._model.tokenize(from_bytes(word.encode())))
        self[word] = ids
        return ids


def _clean(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # joins surrogate pairs, replaces lone ones
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _check(bpe: tables.BPE) -> None:
    """DataError unless the tables are a complete byte-level BPE with ids 0 to n-1."""
    expected = "all 256 bytes, <|endoftext|>, ids from 0 without gaps, and merges of known tokens"
    vocab, merges = bpe
    if END_OF_TEXT not in vocab:
        raise DataError(f"the vocabulary has no {END_OF_TEXT}", expected, code="tokenizer.bad_vocabulary")
    if missing := [byte for byte, char in byte_to_char().items() if char not in vocab]:
        raise DataError(
            f"the vocabulary lacks byte 0x{missing[0]:02x}", expected, code="tokenizer.bad_vocabulary"
        )
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise DataError("the vocabulary's ids have gaps or repeat", expected, code="tokenizer.bad_vocabulary")
    alphabet = set(byte_to_char().values())
    for token in vocab:
        if token != END_OF_TEXT and not (token and alphabet.issuperset(token)):
            raise DataError(
                f"token {token!r} is not written in the byte alphabet",
                expected,
                code="tokenizer.bad_vocabulary",
            )
    if len(set(merges)) < len(merges):
        raise DataError("a merge stands twice", expected, code="tokenizer.bad_merges")
    for left, right in merges:
        if not (left in vocab and right in vocab and left + right in vocab):
            raise DataError(
                f"the merge {left!r} + {right!r} is not of known tokens",
                expected,
                code="tokenizer.bad_merges",
            )
        if left + right == END_OF_TEXT:
            raise DataError(f"a merge makes {END_OF_TEXT} out of text", expected, code="tokenizer.bad_merges")
