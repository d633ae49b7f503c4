"""A folder of mixed files, each read by its suffix: Parquet, JSON lines and arrays, CSV, TSV, Arrow and text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from neogpt.data.input_files import expand, part_file
from neogpt.data.source import HasDocuments, HasInstructions, HasPairs
from neogpt.data.sources import _rows, _table_files, _tables, jsonl, parquet, text
from neogpt.records import Document, Instruction, Pair, RowStats

_TABLES = parquet.SUFFIXES + jsonl.SUFFIXES + _table_files.SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Files(_rows.Columns, HasDocuments, HasInstructions, HasPairs):
    """Files of any kind: .parquet, .jsonl, .json, .csv, .tsv, .arrow, and text (pretrain)."""

    def parts(self) -> list[str]:
        """The files, sorted; large parquet files in several parts."""
        return _parts(self.path, _TABLES + text.SUFFIXES)

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The text column of each row, or the whole of a text file."""
        name = part_file(part).name.lower()
        if _is_parquet(name):
            return parquet.documents(part, self, bad)
        if name.endswith(jsonl.SUFFIXES):
            return jsonl.documents(part, self, bad)
        if name.endswith(_table_files.SUFFIXES):
            return _rows.records(_table_files.rows(part, bad), partial(_rows.to_document, columns=self), bad)
        return text.Text(path=self.path).documents(part, bad)

    def notes(self) -> list[str]:
        """Which text files are cut at marks."""
        found = _parts(self.path, _TABLES + text.SUFFIXES)
        return text.Text().notes_of([part for part in found if part.lower().endswith(text.SUFFIXES)])

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """Every row of the tables with a request and an answer, each once."""
        choose = _tables.instruction_columns(self)
        found = table_rows(tables(self.path), choose, bad)
        yield from _tables.instructions(found, self, bad, choose.seen)
        bad.check()

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Every row of the tables with a request and two different answers, each once."""
        choose = _tables.pair_columns(self)
        found = table_rows(tables(self.path), choose, bad)
        yield from _tables.pairs(found, self, bad, choose.seen)
        bad.check()


def tables(path: str) -> list[str]:
    """The parts of all tables that `path` means."""
    return _parts(path, _TABLES)


def _parts(path: str, suffixes: Sequence[str]) -> list[str]:
    found = expand(path, suffixes)
    return [part for file in found for part in (parquet.file_parts(file) if _is_parquet(file) else [file])]


def table_rows(found: Sequence[str], choose: _tables.Choose, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """The rows of tables of any format, in order; of parquet files only the columns that `choose` names."""
    for part in found:
        if _is_parquet(str(part_file(part))):
            yield from parquet.all_rows([part], choose)
        elif str(part_file(part)).lower().endswith(_table_files.SUFFIXES):
            yield from _table_files.rows(part, bad)
        else:
            yield from jsonl.rows(part, bad)


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(parquet.SUFFIXES)
