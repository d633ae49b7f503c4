"""Rows of named columns to instructions and pairs, whatever the file's format."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from neogpt.data.sources import _rows
from neogpt.data.sources._dialogue import from_messages, pair_of
from neogpt.records import Instruction, Pair, RowStats

Choose = Callable[[Sequence[str]], tuple[list[str], list[str]]]
"""The columns a file has -> those that are needed, and those that only say more."""


def instructions(
    rows: Iterable[_rows.SourceRow], columns: _rows.Columns, bad: RowStats
) -> Iterator[Instruction]:
    """Every row with a request and an answer, each once."""
    return _rows.distinct(rows, partial(to_instruction, columns=columns), bad)


def pairs(rows: Iterable[_rows.SourceRow], columns: _rows.Columns, bad: RowStats) -> Iterator[Pair]:
    """Every row with a request and two different answers, each once."""
    return _rows.distinct(rows, partial(to_pair, columns=columns), bad)


def to_instruction(values: Mapping[str, Any], columns: _rows.Columns) -> Instruction:
    """The request, its context, the answer and the category; or a conversation, whose last turn that is."""
    category = _rows.optional(values, columns.category_column)
    if columns.instruction_column not in values and columns.messages_column in values:
        *history, last = from_messages(values[columns.messages_column])
        return Instruction(*last, category, tuple(history))
    return Instruction(
        _rows.needed(values, columns.instruction_column),
        _rows.optional(values, columns.context_column),
        _rows.needed(values, columns.response_column),
        category,
    )


def to_pair(values: Mapping[str, Any], columns: _rows.Columns) -> Pair:
    """The request, its context, the two answers and the kind; or two conversations in OpenAI's form.

    TRL's forms: what conversations have in common may stand apart, as messages in the column of the request.
    """
    kind = _rows.optional(values, columns.kind_column)
    request = _request_column(columns, values)
    both = values.get(columns.chosen_column), values.get(columns.rejected_column)
    if isinstance(both[0], list) and isinstance(both[1], list):
        before = values.get(request)
        common = before if isinstance(before, list) else []
        return pair_of(from_messages(common + both[0]), from_messages(common + both[1]), kind)
    chosen, rejected = (
        _rows.needed(values, columns.chosen_column),
        _rows.needed(values, columns.rejected_column),
    )
    if chosen == rejected:
        raise _rows.FilteredRow("equal answers")
    return Pair(
        _rows.needed(values, request),
        _rows.optional(values, columns.context_column),
        chosen,
        rejected,
        kind,
    )


def instruction_columns(columns: _rows.Columns) -> Choose:
    """The columns of a request and its answer, or where there is no request that of a conversation."""

    def choose(names: Sequence[str]) -> tuple[list[str], list[str]]:
        if columns.messages_column in names and columns.instruction_column not in names:
            return [columns.messages_column], [columns.category_column]
        wanted = [columns.instruction_column, columns.response_column]
        return wanted, [columns.context_column, columns.category_column]

    return choose


def pair_columns(columns: _rows.Columns) -> Choose:
    """The columns of a request and two answers (a conversation holds its own request)."""

    def choose(names: Sequence[str]) -> tuple[list[str], list[str]]:
        more = [_request_column(columns, names), columns.context_column, columns.kind_column]
        return [columns.chosen_column, columns.rejected_column], more

    return choose


def _request_column(columns: _rows.Columns, names: Collection[str]) -> str:
    """Where a pair's request stands; where no other column was named, a pair may call it `prompt`, as TRL does."""
    column = columns.instruction_column
    return "prompt" if column == "instruction" and column not in names and "prompt" in names else column


def only(wanted: Sequence[str], more: Sequence[str] = ()) -> Choose:
    """These columns, whatever there is."""
    return lambda names: (list(wanted), list(more))
