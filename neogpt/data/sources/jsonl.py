"""JSON lines: one object a line, plain or compressed (.gz, .xz, .zst)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from neogpt.data.input_files import COMPRESSED, expand, part_file
from neogpt.data.source import HasDocuments, HasInstructions, HasPairs
from neogpt.data.sources import _rows, _tables
from neogpt.data.sources._lines import lines
from neogpt.records import Document, Instruction, Pair, RowStats

SUFFIXES = tuple(f".{kind}{end}" for kind in ("jsonl", "ndjson") for end in COMPRESSED)


@dataclass(frozen=True, kw_only=True)
class Jsonl(_rows.Columns, HasDocuments, HasInstructions, HasPairs):
    """JSON lines."""

    def parts(self) -> list[str]:
        """The files, sorted."""
        return expand(self.path, SUFFIXES)

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The text column of each row of one file."""
        return documents(part, self, bad)

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """Every row with a request and an answer, each once."""
        yield from _tables.instructions(all_rows(self.parts(), bad), self, bad)
        bad.check()

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Every row with a request and two different answers, each once."""
        yield from _tables.pairs(all_rows(self.parts(), bad), self, bad)
        bad.check()


def documents(part: str, columns: _rows.Columns, bad: RowStats) -> Iterator[Document]:
    """The text column of each row of one file."""
    return _rows.records(rows(part, bad), partial(_rows.to_document, columns=columns), bad)


def all_rows(files: Iterable[str], bad: RowStats) -> Iterator[_rows.SourceRow]:
    """The rows of several files, in order."""
    for file in files:
        yield from rows(file, bad)


def rows(part: str, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """The objects of one file with their line numbers; lines that are not JSON objects are counted as malformed."""
    path = part_file(part)
    for number, line in lines(path, bad):
        if not line.strip():
            continue
        try:
            yield _rows.SourceRow(str(path), number, parse(line))
        except _rows.MalformedRow as error:
            bad.row()
            bad.malformed(str(path), number, str(error))


def parse(line: str) -> dict[str, Any]:
    """The JSON object of one line; MalformedRow says what it is instead."""
    try:
        value = json.loads(line)
    except RecursionError:
        raise _rows.MalformedRow("JSON nested too deeply") from None
    except ValueError as error:
        raise _rows.MalformedRow(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise _rows.MalformedRow(f"a JSON {type(value).__name__}, not an object with named columns")
    return value
