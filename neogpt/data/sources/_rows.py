"""Rows of named columns to records, the same for every tabular source."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from neogpt.data.source import Source
from neogpt.records import Document, RowStats

BLANK = "blank {}"
RecordT = TypeVar("RecordT")


@dataclass(frozen=True, kw_only=True)
class Columns(Source):
    """Which column holds what. A column that only says more (context, category, kind) may be absent."""

    path: str = ""
    """A file, a folder (searched recursively) or a glob."""
    text_column: str = "text"
    """Column of a document's text (pretrain)."""
    instruction_column: str = "instruction"
    """Column of the request (sft, dpo); pairs without an `instruction` column may have it in `prompt`."""
    context_column: str = "context"
    """Column of the text that a request is about (sft, dpo)."""
    response_column: str = "response"
    """Column of the answer (sft)."""
    category_column: str = "category"
    """Column of an instruction's category (sft)."""
    messages_column: str = "messages"
    """Column of a whole conversation in OpenAI's form, read where there is no request column (sft)."""
    chosen_column: str = "chosen"
    """Column of the preferred answer, or of a conversation or its end as messages (dpo)."""
    rejected_column: str = "rejected"
    """Column of the answer to avoid (dpo)."""
    kind_column: str = "kind"
    """Column of a pair's kind (dpo)."""


class SourceRow(NamedTuple):
    """A row and where it stands."""

    file: str
    line: int
    values: Mapping[str, Any]


class MalformedRow(Exception):
    """A row that has not the columns or types it should have."""


class FilteredRow(Exception):
    """A row that can be read and is of no use."""


def records(
    rows: Iterable[SourceRow], make: Callable[[Mapping[str, Any]], RecordT], bad: RowStats
) -> Iterator[RecordT]:
    """What `make` makes of each row; malformed and useless rows are counted."""
    for row in rows:
        bad.row()
        try:
            yield make(row.values)
        except MalformedRow as error:
            bad.malformed(row.file, row.line, str(error))
        except FilteredRow as error:
            bad.filtered(row.file, row.line, str(error))


def distinct(
    rows: Iterable[SourceRow], make: Callable[[Mapping[str, Any]], RecordT], bad: RowStats
) -> Iterator[RecordT]:
    """`records` without exact repetitions, which are filtered and counted."""
    seen: set[RecordT] = set()

    def once(values: Mapping[str, Any]) -> RecordT:
        record = make(values)
        if record in seen:
            raise FilteredRow("exact duplicate")
        seen.add(record)
        return record

    return records(rows, once, bad)


def to_document(values: Mapping[str, Any], columns: Columns) -> Document:
    """The text column."""
    return Document(needed(values, columns.text_column))


def needed(values: Mapping[str, Any], column: str) -> str:
    """A column's text; MalformedRow where it is absent or no text, FilteredRow where it is blank."""
    present(values, column)
    text = optional(values, column)
    if not text.strip():
        raise FilteredRow(BLANK.format(column))
    return text


def present(values: Mapping[str, Any], column: str) -> Any:
    """What a column holds, whatever it is; MalformedRow where it is absent."""
    if column not in values:
        there = ", ".join(map(repr, list(values)[:20])) or "none"
        raise MalformedRow(f"no column {column!r}; there are: {there}")
    return values[column]


def optional(values: Mapping[str, Any], column: str) -> str:
    """A column's text, "" where it is absent or null; MalformedRow where it is something else."""
    value = values.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedRow(f"column {column!r} holds {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedRow(
            f"column {column!r} holds half a surrogate pair, which is not Unicode text"
        ) from None
    return value
