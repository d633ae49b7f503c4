"""A folder of mixed files: parquet, JSON lines and text, each read by its suffix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neogpt.data.input_files import expand, part_file
from neogpt.data.sources import _rows, _tables, jsonl, parquet, text
from neogpt.records import Document, Instruction, Pair, RowStats


@dataclass(frozen=True, kw_only=True)
class Config(_rows.Columns):
    """Files of any kind that the sources parquet, jsonl and text read."""


def parts(config: Config) -> list[str]:
    """The files, sorted; large parquet files in several parts."""
    found = expand(config.path, parquet.SUFFIXES + jsonl.SUFFIXES + text.SUFFIXES)
    return [part for file in found for part in (parquet.file_parts(file) if _is_parquet(file) else [file])]


def documents(config: Config, part: str, bad: RowStats) -> Iterator[Document]:
    """The text column of each row, or the whole of a text file."""
    name = part_file(part).name.lower()
    if _is_parquet(name):
        return parquet.documents(config, part, bad)
    if name.endswith(jsonl.SUFFIXES):
        return jsonl.documents(config, part, bad)
    return text.documents(text.Config(path=config.path), part, bad)


def instructions(config: Config, bad: RowStats) -> Iterator[Instruction]:
    """Every row of the tables with a request and an answer, each once."""
    found = table_rows(tables(config.path), _tables.instruction_columns(config), bad)
    yield from _tables.instructions(found, config, bad)
    bad.check()


def pairs(config: Config, bad: RowStats) -> Iterator[Pair]:
    """Every row of the tables with a request and two different answers, each once."""
    found = table_rows(tables(config.path), _tables.pair_columns(config), bad)
    yield from _tables.pairs(found, config, bad)
    bad.check()


def tables(path: str) -> list[str]:
    """The parts of all tables that `path` means."""
    found = expand(path, parquet.SUFFIXES + jsonl.SUFFIXES)
    return [part for file in found for part in (parquet.file_parts(file) if _is_parquet(file) else [file])]


def table_rows(found: Sequence[str], choose: _tables.Choose, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """The rows of tables of any format, in order; of parquet files only the columns that `choose` names."""
    for part in found:
        if _is_parquet(str(part_file(part))):
            yield from parquet.all_rows([part], choose)
        else:
            yield from jsonl.rows(part, bad)


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(parquet.SUFFIXES)
