"""Tables that are neither Parquet nor JSON lines: JSON arrays, CSV, TSV, and the Arrow files of `save_to_disk`."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neogpt.data.input_files import COMPRESSED, need_pyarrow, opened, part_file
from neogpt.data.sources import _rows
from neogpt.errors import DataError
from neogpt.records import RowStats

SUFFIXES = tuple(f".{kind}{end}" for kind in ("json", "csv", "tsv", "arrow") for end in COMPRESSED)
_LARGEST_CELL = 64 << 20


def rows(part: str, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """The rows of one file with their numbers from 1 (CSV, TSV: their lines).

    Errors: DataError where the file is not what its name says. Rows that are no objects, or have more cells than the
    header, are counted as malformed.
    """
    path = part_file(part)
    with opened(path) as file:
        yield from _READERS[_kind(path)](path, file, bad)


def _kind(path: Path) -> str:
    """What the name says that the file is, behind it the compression or nothing: json, csv, tsv or arrow."""
    *_, last, end = ["", *path.name.lower().split(".")]
    return last if f".{end}" in COMPRESSED else end


def _json(path: Path, file: Any, bad: RowStats) -> Iterator[_rows.SourceRow]:
    try:
        values = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON: {str(error)[:200]}",
            "one array of objects (an object a line is JSON lines: NAME.jsonl)",
            code="data.not_json",
        ) from None
    lists = (
        [value for value in values.values() if isinstance(value, list)] if isinstance(values, dict) else []
    )
    if len(lists) == 1:  # {"data": [...]}, as some exports have it
        values = lists[0]
    if not isinstance(values, list):
        raise DataError(
            f"{path} holds a JSON {type(values).__name__}", "an array of objects", code="data.not_json"
        )
    for number, row in enumerate(values, 1):
        if isinstance(row, dict):
            yield _rows.SourceRow(str(path), number, row)
        else:
            bad.row()
            bad.malformed(str(path), number, f"a JSON {type(row).__name__}, not an object with named columns")


def _separated(path: Path, file: Any, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """CSV and TSV with a header; a quoted cell may hold line breaks. An empty cell is an empty text."""
    csv.field_size_limit(_LARGEST_CELL)
    decoded = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.DictReader(decoded, dialect="excel-tab" if _kind(path) == "tsv" else "excel")
    try:
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise _same_name(path, list(names))
        for row in reader:
            if None in row:  # where csv puts what is beyond the header
                bad.row()
                found = len(names) + len(row[None])
                bad.malformed(str(path), reader.line_num, f"{found} cells under {len(names)} names")
            else:
                yield _rows.SourceRow(str(path), reader.line_num, row)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text", "text in UTF-8", code="data.not_text") from None
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: {error}", "CSV as spreadsheets write it", code="data.not_csv"
        ) from None
    finally:
        decoded.detach()  # whoever opened the file closes it


def _arrow(path: Path, file: Any, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """Arrow's stream format, as `datasets` saves it, or its file format."""
    pyarrow = need_pyarrow("to read Arrow files")
    from pyarrow import ipc  # extra: data

    try:
        try:
            batches = iter(ipc.open_stream(file))
        except pyarrow.ArrowInvalid:
            file.seek(0)
            found = ipc.open_file(file)
            batches = (found.get_batch(i) for i in range(found.num_record_batches))
        number = 0
        for batch in batches:
            if len(set(batch.schema.names)) < len(batch.schema.names):
                raise _same_name(path, batch.schema.names)
            for row in batch.to_pylist():
                number += 1
                yield _rows.SourceRow(str(path), number, row)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path} cannot be read: {str(error)[:300]}", "a whole Arrow file", code="data.damaged"
        ) from None


def _same_name(path: Path, names: list[str]) -> DataError:
    twice = next(name for name in names if names.count(name) > 1)
    return DataError(
        f"{path} has two columns called {twice!r}",
        "a name for each column",
        code="data.two_columns_of_one_name",
    )


_READERS = {"json": _json, "csv": _separated, "tsv": _separated, "arrow": _arrow}
