"""Parquet files of named columns, the form in which FineWeb-Edu and most of the Hub's data sets come."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from neogpt.data.input_files import expand, need_pyarrow, part_file, part_slice, slices
from neogpt.data.source import HasDocuments, HasInstructions, HasPairs
from neogpt.data.sources import _rows, _tables
from neogpt.errors import DataError
from neogpt.records import Document, Instruction, Pair, RowStats

SUFFIXES = (".parquet",)
PART_BYTES = 64 << 20
"""Bytes of a file a part: large files are cut between row groups so that workers can share them."""
_BATCH_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Parquet(_rows.Columns, HasDocuments, HasInstructions, HasPairs):
    """Parquet files."""

    def parts(self) -> list[str]:
        """The files, sorted, large ones cut into runs of row groups: `path#0of3`."""
        return [part for file in expand(self.path, SUFFIXES) for part in file_parts(file)]

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The text column of each row of one part."""
        return documents(part, self, bad)

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """Every row with a request and an answer, each once."""
        choose = _tables.instruction_columns(self)
        yield from _tables.instructions(all_rows(self.parts(), choose), self, bad, choose.seen)
        bad.check()

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Every row with a request and two different answers, each once."""
        choose = _tables.pair_columns(self)
        yield from _tables.pairs(all_rows(self.parts(), choose), self, bad, choose.seen)
        bad.check()


def file_parts(file: str, size: int | None = None) -> list[str]:
    """The parts of a file of `size` bytes (default: of the file that is there)."""
    return slices(file, -(-(size or Path(file).stat().st_size) // PART_BYTES))


def documents(part: str, columns: _rows.Columns, bad: RowStats) -> Iterator[Document]:
    """The text column of each row of one part."""
    found = rows(part, [columns.text_column])
    return _rows.records(found, partial(_rows.to_document, columns=columns), bad)


def all_rows(found: Sequence[str], choose: _tables.Choose) -> Iterator[_rows.SourceRow]:
    """The rows of several parts, in order, with the columns that `choose` names for each file."""
    for part in found:
        names = _open(part_file(part)).schema_arrow.names
        yield from rows(part, *choose(names))


def rows(part: str, wanted: Sequence[str], more: Sequence[str] = ()) -> Iterator[_rows.SourceRow]:
    """The rows of one part, with only the columns `wanted`, and those of `more` that there are.

    A row's line is its number in the file, from 1. Errors: DataError for a damaged file, an absent column
    (those that exist are named) or one that does not hold text.
    """
    path, (number, count) = part_file(part), part_slice(part) or (0, 1)
    file = _open(path)
    columns = _check_columns(path, file.schema_arrow, wanted, more)
    first, last = (file.num_row_groups * i // count for i in (number, number + 1))
    line = sum(file.metadata.row_group(i).num_rows for i in range(first))
    try:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=range(first, last), columns=columns):
            for values in _values(batch, path, line):
                line += 1
                yield _rows.SourceRow(str(path), line, values)
    except (OSError, _arrow_error()) as error:
        raise _damaged(path, error) from None


def _values(batch: Any, path: Path, before: int) -> list[dict[str, Any]]:
    """A batch's rows, `before` of which come earlier in the file; DataError names the value that is no UTF-8."""
    try:
        found: list[dict[str, Any]] = batch.to_pylist()
        return found
    except UnicodeDecodeError:
        row, column, error = next(_undecodable(batch))
        raise DataError(
            f"column {column!r} of {path} is not UTF-8 text in row {before + row + 1:,}: {error.reason} at byte "
            f"{error.start:,} of the value ({error.object[error.start : error.start + 4]!r})",
            "text in UTF-8, as parquet's strings are",
            "write the file again, the column decoded as what it is (latin-1, say), or leave it out of --source.path",
            code="data.not_text",
        ) from None


def _undecodable(batch: Any) -> Iterator[tuple[int, str, UnicodeDecodeError]]:
    """Row, column and error of each value that cannot be decoded, row by row."""
    for row, column in itertools.product(range(batch.num_rows), batch.schema.names):
        try:
            batch.column(column)[row].as_py()
        except UnicodeDecodeError as error:
            yield row, column, error


def _open(path: Path) -> Any:
    need_pyarrow("to read parquet files")
    import pyarrow.parquet  # extra: data

    try:
        return pyarrow.parquet.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", "a parquet file", code="data.no_such_file") from None
    except (OSError, _arrow_error()) as error:
        raise _damaged(path, error) from None


def _check_columns(path: Path, schema: Any, wanted: Sequence[str], more: Sequence[str]) -> list[str]:
    """The columns to read, each once."""
    import pyarrow.types as types  # extra: data

    for column in wanted:
        if column not in schema.names:
            names = ", ".join(map(repr, schema.names[:50]))
            hint = "name the right one, for example --source.text-column"
            raise DataError(
                f"{path} has no column {column!r}",
                f"one of its columns: {names}",
                hint,
                code="data.no_such_column",
            )
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise DataError(
            f"{path} has two columns called {twice[0]!r}",
            "a name for each column",
            code="data.two_columns_of_one_name",
        )
    columns = list(dict.fromkeys([*wanted, *(column for column in more if column in schema.names)]))
    for column in columns:
        kind = schema.field(column).type
        value = kind.value_type if types.is_dictionary(kind) else kind
        text = any(is_kind(value) for is_kind in _text_types(types)) or types.is_null(value)
        if not text and not _is_messages(kind):
            raise DataError(
                f"column {column!r} of {path} holds {kind}",
                "a column of text (string)",
                code="data.wrong_column_type",
            )
    return columns


def _text_types(types: Any) -> list[Any]:
    names = ("is_string", "is_large_string", "is_string_view")
    return [getattr(types, name) for name in names if hasattr(types, name)]


def _is_messages(kind: Any) -> bool:
    """Whether a column holds conversations (in a list of any kind), in OpenAI's form or ShareGPT's."""
    import pyarrow.types as types  # extra: data

    names = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    is_list = any(getattr(types, name)(kind) for name in names if hasattr(types, name))
    if not (is_list and types.is_struct(kind.value_type)):
        return False
    return any(kind.value_type.get_field_index(name) >= 0 for name in ("role", "from"))


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} cannot be read: {str(error)[:300]}", "a whole, undamaged parquet file", code="data.damaged"
    )


def _arrow_error() -> Any:
    import pyarrow  # extra: data

    return pyarrow.ArrowException
