"""The tables of a byte-level BPE, a vocabulary and its merges, and the files that hold one table each."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from neogpt.errors import DataError

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
KIND = "a byte-level BPE tokenizer of GPT-2's kind"


class BPE(NamedTuple):
    """A vocabulary (token -> id, tokens in the byte alphabet) and its merges, best first."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]


def parse_vocab(file: Path) -> dict[str, int]:
    """The token -> id table of an encoder.json (vocab.json)."""
    content = read_json(file)
    if not all(isinstance(i, int) for i in content.values()):
        raise DataError(
            f"{file} is not a vocabulary", "a JSON object of token: id", code="tokenizer.bad_vocabulary"
        )
    return content


def parse_merges(file: Path) -> list[tuple[str, str]]:
    """The merges of a vocab.bpe (merges.txt), best first."""
    merges = []
    for number, line in enumerate(_text(file).split("\n"), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.partition(" ")
        if not (left and space and right) or " " in right:
            raise DataError(
                f"{file}, line {number}: {line[:60]!r} is not a merge",
                "two tokens and one space",
                code="tokenizer.bad_merges",
            )
        merges.append((left, right))
    return merges


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; DataError says what is wrong with it."""
    try:
        content = json.loads(_text(file))
    except ValueError as error:
        raise DataError(
            f"{file} is damaged: {error}", f"the JSON of {KIND}", code="tokenizer.damaged"
        ) from None
    if not isinstance(content, dict):
        raise DataError(
            f"{file} is damaged: it is not a JSON object", f"the JSON of {KIND}", code="tokenizer.damaged"
        )
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text", KIND, code="tokenizer.damaged") from None
    except OSError as error:
        hint = "neogpt tokenizer train FILES --vocab-size 1024 --out DIR"
        raise DataError(
            f"cannot read {file}: {error.strerror}",
            f"a folder with {TOKENIZER}",
            hint,
            code="tokenizer.unreadable",
        ) from None
